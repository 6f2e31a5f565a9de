"""Files at URLs (s3://, gs://, hf://, https:// ...), by fsspec.

Credentials and endpoints come from the environment, as each store's client reads them (``AWS_*``, ``HF_TOKEN`` ...).
"""

from __future__ import annotations

import threading
import uuid
from collections.abc import Collection
from typing import Any

from core.errors import InputProblem, redacted, said

READABLE = ("s3", "gs", "gcs", "hf", "http", "https", "az", "abfs")
WRITABLE = ("s3", "gs", "gcs", "az", "abfs", "file")
# Of botocore's own attempts one suffices, since s3fs makes five: else a store that is gone takes half a minute.
_OPTIONS: dict[str, dict[str, Any]] = {
    "s3": {"config_kwargs": {"connect_timeout": 10, "retries": {"max_attempts": 0}}},
    "file": {"auto_mkdir": True},
}
_INSTALL = {"s3": "stemma-llm[s3]", "gs": "gcsfs", "gcs": "gcsfs", "az": "adlfs", "abfs": "adlfs"}
ANSWER_SECONDS = 30.0  # for a few small requests; clients' own patience is minutes


def file_system(url: str, protocols: Collection[str] = READABLE, **options: Any) -> tuple[Any, str]:
    """The fsspec file system of a URL, made with ``options``, and the place in it; nothing is asked of the store.

    Raises:
        InputProblem: the kind of address is none of ``protocols``, or its library is not installed.
    """
    protocol, _, rest = url.partition("://")
    protocol = protocol.lower()
    if protocol not in protocols:
        raise InputProblem(f"{redacted(url)}: unknown kind of address; supported are {', '.join(protocols)}")
    if "::" in rest:  # fsspec would take what follows for another address, such as a file of this machine
        raise InputProblem(f"{redacted(url)}: holds '::', which joins two addresses: name the file's own")
    import fsspec

    try:
        system, place = fsspec.url_to_fs(f"{protocol}://{rest}", **options)
    except ImportError as error:
        name = _INSTALL.get(protocol, protocol)
        raise InputProblem(f"{redacted(url)}: needs a library ({error}): pip install '{name}'") from error
    return system, str(place)


def writable(url: str) -> tuple[Any, str]:
    """As :func:`file_system`, of a place to write below; without a slash at its end.

    Raises:
        InputProblem: as there.
    """
    system, place = file_system(url, WRITABLE, **_OPTIONS.get(url.partition("://")[0].lower(), {}))
    return system, place.rstrip("/")


def misspelt(url: str) -> str | None:
    """What is wrong with an address to write below, as it is spelled; ``None`` if nothing is."""
    protocol, separator, rest = url.partition("://")
    if not separator or protocol.lower() not in WRITABLE:
        return f"an address begins with one of {', '.join(f'{each}://' for each in WRITABLE)}"
    if redacted(url) != url:
        return "an address holds no user or password; give credentials in the environment (such as AWS_ACCESS_KEY_ID)"
    if not rest.strip("/") or any(sign in rest for sign in "?#*[]\\") or "::" in rest or ".." in rest.split("/"):
        return "an address is a bucket and a folder, without signs such as ? # * [ or '..'"
    return None


def refused(url: str, seconds: float = ANSWER_SECONDS) -> str | None:
    """Why nothing can be written and read below ``url``, found with a small file that is removed; ``None`` if it can.

    Args:
        seconds: for which the store may be silent.
    """
    try:
        system, place = writable(url)
    except InputProblem as problem:
        return problem.problems[0]
    outcome: list[str | None] = []

    def probe() -> None:
        name = f"{place}/.stemma-{uuid.uuid4().hex}"
        try:
            system.pipe_file(name, b"stemma")
            wrong = system.cat_file(name) != b"stemma"
            system.rm_file(name)
            outcome.append("gives back other bytes than were written" if wrong else None)
        except Exception as error:
            outcome.append(f"cannot be used ({said(error)}): check address, credentials and access")

    thread = threading.Thread(target=probe, daemon=True)
    thread.start()
    thread.join(seconds)
    found = outcome[0] if outcome else f"has not answered for {seconds:g} s: check address and network"
    return None if found is None else f"{redacted(url)} {found}"
