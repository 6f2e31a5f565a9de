"""DVC's command line, from subprocesses only: its Python API may not be used from two threads."""

from __future__ import annotations

import json
import os
import re
import subprocess
import time
from pathlib import Path
from typing import Any

from core import files, python
from core.environment import child_environment
from core.errors import DvcError
from core.guarded_dvc import THEN

# A second DVC holds the repository's lock while it hashes, or a path while its stage runs.
BUSY = re.compile(r"is busy|Unable to acquire lock|another DVC process|is being blocked by", re.IGNORECASE)
TRIES = 5


def program(*arguments: str) -> list[str]:
    """Module and arguments of a DVC that waits for its lock. ``--wait-for-lock`` goes before the verb."""
    return ["core.guarded_dvc", "--wait-for-lock", *arguments]


def command(*arguments: str) -> list[str]:
    """The command line of :func:`program`."""
    return python.command(*program(*arguments))


def run(root: Path, *arguments: str) -> str:
    """Standard output of a DVC command run in ``root``; tried again while another DVC is busy.

    Raises:
        DvcError: it failed.
    """
    return _run(root, command(*arguments), " ".join(arguments[:2]))


def run_both(root: Path, first: list[str], second: list[str]) -> tuple[str, str]:
    """Standard outputs of two DVC commands run one after the other in one process: starting DVC takes half a second.

    Raises:
        DvcError: one of them failed.
    """
    commands = command(*first, THEN, "--wait-for-lock", *second)
    one, _, other = _run(root, commands, f"{first[0]}, {second[0]}").partition("\0")
    return one, other


def _run(root: Path, line: list[str], name: str) -> str:
    for attempt in range(1, TRIES + 1):
        done = subprocess.run(line, cwd=root, env=child_environment(), capture_output=True, text=True, check=False)
        if done.returncode == 0:
            return done.stdout
        if not BUSY.search(done.stderr) or attempt == TRIES:
            break
        time.sleep(0.5 * attempt)
    message = message_of(done.stderr) or f"it ended with exit code {done.returncode}"
    raise DvcError(f"dvc {name}: {message}")


def message_of(stderr: str) -> str:
    """The part of DVC's standard error that says what is wrong."""
    lines = [line for line in stderr.splitlines() if line.strip() and not line.startswith("WARNING")]
    start = next((index for index, line in enumerate(lines) if line.startswith("ERROR")), 0)
    said = [line.removeprefix("ERROR: ").removeprefix("unexpected error - ") for line in lines[start:]]
    return "\n".join(line for line in said if not line.startswith("Having any troubles?")).strip()


def status(root: Path, *targets: str) -> dict[str, list[Any]]:
    """What changed since the last reproduction, by stage: DVC's own ``status --json``; empty when nothing did."""
    return parse_status(run(root, "status", "--json", *targets))


def parse_status(text: str) -> dict[str, list[Any]]:
    """What ``status --json`` printed."""
    found: dict[str, list[Any]] = json.loads(text.strip().splitlines()[-1]) if text.strip() else {}
    return found


def cache_folder(root: Path) -> Path:
    """The folder of DVC's cache; its objects lie below ``files/md5``.

    Read from the files of settings that DVC reads, the last one that names a folder counts: starting DVC for it takes
    half a second.

    Raises:
        DvcError: ``root`` lies in no folder that DVC knows, or a file of settings is not readable.
    """
    import platformdirs
    from configobj import ConfigObj, ConfigObjError

    own = next((folder / ".dvc" for folder in (root, *root.parents) if (folder / ".dvc").is_dir()), None)
    if own is None:
        raise DvcError(f"{root} is in no folder that DVC knows; run `dvc init` there")
    system = os.environ.get("DVC_SYSTEM_CONFIG_DIR") or platformdirs.site_config_dir("dvc", "iterative")
    personal = os.environ.get("DVC_GLOBAL_CONFIG_DIR") or platformdirs.user_config_dir("dvc", "iterative")
    found = own / "cache"
    for file in (Path(system, "config"), Path(personal, "config"), own / "config", own / "config.local"):
        try:
            settings = ConfigObj(str(file), interpolation=False)
            found = file.parent / Path(settings.get("cache", {}).get("dir", found)).expanduser()
        except (ConfigObjError, UnicodeDecodeError, AttributeError, TypeError) as error:
            raise DvcError(f"{file} is not readable: {error}; correct it with `dvc config`") from None
    return found.resolve()


def use_cache(root: Path, cache: Path) -> None:
    """Let the DVC repository at ``root`` use the cache ``cache``, by its own file of settings that git does not keep.

    As ``dvc cache dir --local``, which fails where the path has letters beyond ASCII.
    """
    from configobj import ConfigObj

    file = root / ".dvc" / "config.local"
    settings = ConfigObj(str(file), interpolation=False, encoding="utf-8")
    settings.setdefault("cache", {})["dir"] = str(cache)
    settings.filename = None
    files.write_bytes(file, b"\n".join(settings.write()) + b"\n")


def remotes(root: Path) -> list[str]:
    """Names of the configured remotes, the default one first."""
    lines = [line for line in run(root, "remote", "list").splitlines() if line.strip()]
    lines.sort(key=lambda line: not line.rstrip().endswith("(default)"))
    return [line.split()[0] for line in lines]


def object_path(cache: Path, digest: str) -> Path:
    """Where the cache keeps the object ``digest`` (an md5, with ``.dir`` behind it for a folder's manifest)."""
    return cache / "files" / "md5" / digest[:2] / digest[2:]
