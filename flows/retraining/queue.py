"""One retraining at a time: the next one waits, and whoever comes while one waits already is not needed."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from core.locks import try_lock

POLL_SECONDS = 0.2


class NotNeeded(Exception):
    """Another retraining waits for its turn already, and will see whatever this one would have seen."""


@contextlib.contextmanager
def turn(home: Path, say: Callable[[str], None]) -> Iterator[None]:
    """Held while a retraining is at work; waits for the one before it.

    The kernel gives the locks back when a process ends, however it ends.

    Raises:
        NotNeeded: one is at work, and another one waits.
    """
    with contextlib.ExitStack() as stack:
        with contextlib.ExitStack() as waiting:
            if not _lock(home / "retrain.next.lock", waiting):
                raise NotNeeded("another retraining waits for its turn already, and will see the same data")
            if not _lock(home / "retrain.lock", stack):
                say("another retraining is at work; waiting for its end")
                while not _lock(home / "retrain.lock", stack):
                    time.sleep(POLL_SECONDS)  # rather than blocking in the kernel, where a cancellation is not heard
        yield


def _lock(path: Path, stack: contextlib.ExitStack) -> bool:
    descriptor = try_lock(path)
    if descriptor is not None:
        stack.callback(os.close, descriptor)
    return descriptor is not None
