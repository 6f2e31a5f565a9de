"""A folder of files that are named by what made them: shared by all runs, and bounded."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator
from pathlib import Path

from core import locks

SPARE = 1 << 30  # bytes of files that the last run did not use, however small that run was


@contextlib.contextmanager
def using(folder: Path) -> Iterator[None]:
    """While the block runs nothing is removed from the folder; others may use it too."""
    with locks.holding(_lock(folder), shared=True):
        yield


def trim(folder: Path, used: Iterable[Path]) -> None:
    """Remove what is oldest, beyond as many bytes again as the ``used`` files take (at least :data:`SPARE`).

    So a run that grows from day to day finds the whole of the one before, and the folder never holds more than about
    two of them. Nothing is removed while another process uses the folder.
    """
    with locks.holding(_lock(folder), wait=False) as lock:
        if lock is None:
            return
        mine = {path.name for path in used}
        sizes = {path: path.stat() for path in folder.iterdir() if path != _lock(folder)}
        left = max(SPARE, sum(status.st_size for path, status in sizes.items() if path.name in mine))
        for path in sorted(sizes, key=lambda path: sizes[path].st_mtime, reverse=True):
            if path.name in mine:
                continue
            left -= sizes[path].st_size
            if left < 0 or path.suffix == ".partial":  # the latter of a process that was killed
                path.unlink(missing_ok=True)


def _lock(folder: Path) -> Path:
    return folder / "lock"
