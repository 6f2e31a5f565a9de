"""Locks that a process holds by an open file: the kernel gives them back however the process ends.

Plain exclusive locks that are waited for are :class:`filelock.FileLock`, which takes the same kernel locks (``flock``).
Here is what it has not: locks that several share, that a child process inherits, and asking whether one is held.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections.abc import Iterator
from pathlib import Path

from filelock import FileLock

__all__ = ["FileLock", "acquire", "held", "holding", "try_lock"]


def acquire(path: Path, *, shared: bool = False) -> int:
    """Wait for the lock of the file ``path``; the descriptor returned holds it until it is closed.

    Args:
        shared: together with others that share it, instead of alone.
    """
    descriptor = _open(path)
    fcntl.flock(descriptor, fcntl.LOCK_SH if shared else fcntl.LOCK_EX)
    return descriptor


def try_lock(path: Path) -> int | None:
    """As :func:`acquire` alone, without waiting: ``None`` while another process holds it."""
    while True:
        descriptor = _open(path)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(descriptor)
            return None
        if _names(path, descriptor):
            return descriptor
        os.close(descriptor)  # its last holder has removed the file: the next process would lock a new one


@contextlib.contextmanager
def holding(path: Path, *, wait: bool = True, shared: bool = False) -> Iterator[int | None]:
    """Hold the lock for a block; without ``wait`` the block gets ``None`` where another process holds it."""
    descriptor = acquire(path, shared=shared) if wait else try_lock(path)
    try:
        yield descriptor
    finally:
        if descriptor is not None:
            os.close(descriptor)


def held(path: Path) -> bool:
    """True while a process holds the lock of the file ``path`` alone; the file is not made."""
    try:
        with open(path, "rb") as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except FileNotFoundError:
        return False
    except BlockingIOError:
        return True
    return False


def _names(path: Path, descriptor: int) -> bool:
    try:
        return os.path.samestat(os.stat(path), os.fstat(descriptor))
    except FileNotFoundError:
        return False


def _open(path: Path) -> int:
    path.parent.mkdir(parents=True, exist_ok=True)
    return os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
