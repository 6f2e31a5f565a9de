"""DVC's command line, from subprocesses; asked again while another DVC holds the repository's lock."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from pathlib import Path

from registry.errors import DvcFailed

_BUSY = re.compile(r"is busy|Unable to acquire lock|another DVC process|is being blocked by", re.IGNORECASE)
TRIES = 5


def run(root: Path, *arguments: str) -> str:
    """Standard output of a DVC command run in ``root``.

    Raises:
        DvcFailed: it failed; the message is DVC's own.
    """
    command = [sys.executable, "-m", "dvc", "--wait-for-lock", *arguments]
    for attempt in range(1, TRIES + 1):
        done = subprocess.run(
            command,
            cwd=root,
            capture_output=True,
            text=True,
            check=False,
            env={**os.environ, "DVC_NO_ANALYTICS": "1"},
        )
        if done.returncode == 0:
            return done.stdout
        if not _BUSY.search(done.stderr) or attempt == TRIES:
            break
        time.sleep(0.5 * attempt)
    lines = [line for line in done.stderr.splitlines() if line.strip() and not line.startswith("WARNING")]
    start = next((index for index, line in enumerate(lines) if line.startswith("ERROR")), 0)
    told = " ".join(line.removeprefix("ERROR: ").strip() for line in lines[start:])
    raise DvcFailed(f"dvc {' '.join(arguments[:2])}: {told or f'exit code {done.returncode}'}")


def cache_folder(root: Path) -> Path:
    """The folder of DVC's cache; its objects lie below ``files/md5``."""
    return Path(root, run(root, "cache", "dir").strip()).resolve()


def remotes(root: Path) -> list[str]:
    """Names of the configured remotes, the default one first."""
    lines = [line for line in run(root, "remote", "list").splitlines() if line.strip()]
    lines.sort(key=lambda line: not line.rstrip().endswith("(default)"))
    return [line.split()[0] for line in lines]


def object_path(cache: Path, digest: str) -> Path:
    """Where the cache keeps the object ``digest`` (an md5, with ``.dir`` behind it for a folder's manifest)."""
    return cache / "files" / "md5" / digest[:2] / digest[2:]
