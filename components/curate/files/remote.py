"""The user's files at URLs (s3://, gs://, hf://, https:// ...), by fsspec: listed, and fetched when a chunk is read.

Credentials and endpoints come from the environment, as each store's client reads them (``AWS_*``, ``HF_TOKEN`` ...).
"""

from __future__ import annotations

import hashlib
import json
import shutil
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path, PurePosixPath
from typing import Any

from components.curate.files.user_files import COMPRESSIONS, DOCUMENTS, UserFile, format_of, is_url, shown, unknown_kind
from core.errors import InputProblem, redacted, said
from core.object_stores import file_system

ATTEMPTS = 3
SPARE = 1 << 30  # bytes of the disk that a copy leaves free
# What stores say of a file's content, best first: other content, other mark.
_MARKS = ("ETag", "etag", "md5Hash", "content_md5", "blob_id", "generation")


def problems(patterns: Iterable[str], parameter: str) -> list[str]:
    """What is wrong with URLs as they are written; nothing is asked of a store."""
    found = []
    for pattern in filter(is_url, patterns):
        try:
            file_system(pattern)
        except InputProblem as problem:
            found += [f"{parameter}: {line}" for line in problem.problems]
    return found


def find(
    patterns: Iterable[str], parameter: str, formats: Mapping[str, str] = DOCUMENTS
) -> tuple[list[UserFile], list[str]]:
    """Files that the URLs among the patterns name, sorted and each once, and the problems with the patterns."""
    found: dict[str, UserFile] = {}
    wrong: list[str] = []
    for pattern in filter(is_url, patterns):
        try:
            listed = _listed(pattern)
        except InputProblem as problem:
            wrong += [f"{parameter}: {line}" for line in problem.problems]
            continue
        if not listed:
            wrong.append(f"{parameter}: no file matches {redacted(pattern)!r}: check the address")
        for url, information in listed.items():
            name, path = shown(redacted(url)), Path(PurePosixPath(url.partition("?")[0]).name)
            kind = format_of(path, formats, COMPRESSIONS)
            if kind is None:
                wrong.append(unknown_kind(name, formats, COMPRESSIONS))
                continue
            mark = next((str(information[key]) for key in _MARKS if information.get(key)), None)
            found[name] = UserFile(name, path, kind, url=url, size=information.get("size"), mark=mark)
    return [found[name] for name in sorted(found)], wrong


def listing(files: Sequence[UserFile]) -> dict[str, Any]:
    """What was found, for the report: another digest, other files."""
    body = json.dumps([[file.name, file.size, file.mark] for file in files])
    return {
        "files": len(files),
        "bytes": sum(file.size or 0 for file in files),
        "listing": hashlib.sha256(body.encode()).hexdigest()[:16],
    }


@contextmanager
def fetched(files: Sequence[UserFile]) -> Iterator[list[UserFile]]:
    """The same files, those at URLs as copies in a temporary folder (``TMPDIR``), which goes with the block.

    Raises:
        InputProblem: one cannot be fetched, or is not of the size that was listed.
    """
    if not any(file.url for file in files):
        yield list(files)
        return
    with tempfile.TemporaryDirectory(prefix="stemma-") as folder:
        copies = []
        for number, file in enumerate(files):
            if file.url is not None:
                path = Path(folder, str(number), file.path.name)
                path.parent.mkdir()
                _fetch(file, path)
                file = replace(file, path=path)
            copies.append(file)
        yield copies


def _fetch(file: UserFile, path: Path) -> None:
    import fsspec

    class Bounded(fsspec.Callback):  # type: ignore[misc]
        """Ends a transfer that is longer than what was listed, or that would fill the disk."""

        def relative_update(self, inc: int = 1) -> None:
            super().relative_update(inc)
            if file.size is not None and self.value > file.size:
                raise InputProblem(f"{file.name}: was changed while the stage ran: run it again")
            if shutil.disk_usage(path.parent).free < SPARE:
                raise InputProblem(
                    f"{file.name}: does not fit into {path.parents[2]}, of which {SPARE >> 30} GiB stay free: set "
                    "TMPDIR to a folder with more room"
                )

    assert file.url is not None
    system, place = file_system(file.url)
    for attempt in range(1, ATTEMPTS + 1):
        try:
            system.get_file(place, str(path), callback=Bounded())
            break
        except InputProblem:
            raise
        except Exception as error:  # every store has errors of its own
            if attempt == ATTEMPTS:
                raise InputProblem(f"{file.name}: cannot be fetched ({said(error)}): run the stage again") from error
    if file.size is not None and path.stat().st_size != file.size:
        raise InputProblem(f"{file.name}: was changed while the stage ran: run it again")


def _listed(pattern: str) -> dict[str, dict[str, Any]]:
    """What the store says of each file that matches, by URL."""
    system, place = file_system(pattern)
    try:
        system.invalidate_cache()
        if any(sign in place for sign in "*?["):
            found = system.glob(place, detail=True)
        elif system.exists(place):
            found = {place: system.info(place)}
        else:
            found = {}
    except Exception as error:  # every store has errors of its own
        raise InputProblem(
            f"{redacted(pattern)}: cannot be listed ({said(error)}): check address and access"
        ) from error
    return {
        system.unstrip_protocol(name): information
        for name, information in found.items()
        if information.get("type", "file") == "file"
    }
