"""Arrays and records on disk, for what is known of every document: memory holds a block of them at a time."""

from __future__ import annotations

import mmap
import os
import shutil
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import DTypeLike

from core.errors import InputProblem

Array = np.ndarray[Any, Any]
SPARE = 1 << 30  # bytes of the disk that are left free
PARTITION = 1 << 24  # bytes of a partition, as many as are sorted at once


def emptied(folder: Path) -> Path:
    """``folder``, without what a killed attempt left there."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    return folder


def require_room(folder: Path, needed: int, what: str) -> None:
    """Raise InputProblem where the disk has no room for so many bytes, before they are written."""
    free = shutil.disk_usage(folder).free
    if needed > 1 << 24 and needed + SPARE > free:
        raise InputProblem(
            f"{folder}: {what} needs {needed / 1e9:.1f} GB of disk for the time of the stage, and {free / 1e9:.1f} GB "
            f"are free, of which {SPARE >> 30} GiB stay so: free some, or point STEMMA_HOME at a larger disk"
        )


def on_disk(path: Path, shape: int | tuple[int, ...], dtype: DTypeLike) -> Array:
    """A new array of zeros in a file, whose room on the disk is taken at once.

    Raises:
        OSError: there is no such room.
    """
    size = int(np.prod(shape)) * np.dtype(dtype).itemsize
    if not size:
        return np.zeros(shape, dtype)
    with open(path, "wb") as file:
        if hasattr(os, "posix_fallocate"):  # writing to a mapped file without room would end the process
            os.posix_fallocate(file.fileno(), 0, size)
        else:
            file.truncate(size)
    # A plain array: what numpy's own subclass costs at each access is felt in loops.
    return np.asarray(np.memmap(path, dtype, "r+", shape=shape))


def release(*arrays: Array) -> None:
    """Give back the memory in which parts of these arrays were looked at; they are read from the disk again."""
    for array in arrays:
        if isinstance(array.base, np.memmap) and hasattr(mmap, "MADV_DONTNEED"):
            array.base._mmap.madvise(mmap.MADV_DONTNEED)  # type: ignore[attr-defined]
