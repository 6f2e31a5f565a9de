"""Single files to object storage and back: ended as soon as they are not wanted, and checked before they are used."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from core.errors import InputProblem
from core.files import sha256, sync

ATTEMPTS = 3  # to fetch a file
SPARE = 1 << 28  # bytes of a disk that fetched files leave free


class Stopped(Exception):
    """A transfer was ended because it is no longer wanted."""


class NotAsWritten(Exception):
    """What was fetched is not what was written."""


def put(system: Any, path: Path, target: str, stopping: Callable[[], bool]) -> None:
    """Copy a file to the place ``target`` of an fsspec file system.

    Raises:
        Stopped: ``stopping`` became true.
        Exception: the store's own.
    """
    system.put_file(str(path), target, callback=_ending(stopping))


def get(system: Any, source: str, target: Path, digest: str, size: int, stopping: Callable[[], bool]) -> None:
    """Copy a file from the store to the disk, in a few attempts.

    Args:
        digest: its SHA-256.
        size: in bytes.

    Raises:
        NotAsWritten: it has another size or SHA-256.
        Stopped: ``stopping`` became true.
        Exception: the store's own.
    """
    for attempt in range(1, ATTEMPTS + 1):
        try:
            system.get_file(source, str(target), callback=_ending(stopping, size))
            break
        except (NotAsWritten, Stopped, FileNotFoundError):
            raise
        except Exception:
            if attempt == ATTEMPTS:
                raise
            time.sleep(attempt)
    if not target.is_file() or target.stat().st_size != size or sha256(target) != digest:
        raise NotAsWritten(f"{target.name} differs from its SHA-256")
    sync(target)


def require_room(folder: Path, size: int, what: str) -> None:
    """Raise an :class:`InputProblem` where ``what``, of so many bytes, does not fit on the disk of ``folder``."""
    free = shutil.disk_usage(folder).free
    if free < size + SPARE:
        raise InputProblem(
            f"no disk space: {what} needs {size / 1e9:.1f} GB in {folder}, and {free / 1e9:.1f} GB are free"
        )


def _ending(stopping: Callable[[], bool], most: int | None = None) -> Any:
    """A callback of fsspec that ends a transfer which is not wanted any more, or brings more bytes than were named."""
    import fsspec

    class Ending(fsspec.Callback):  # type: ignore[misc]
        def relative_update(self, inc: int = 1) -> None:
            super().relative_update(inc)
            if stopping():
                raise Stopped
            if most is not None and self.value > most:
                raise NotAsWritten("a file is longer than its manifest says")

    return Ending()
