"""One retraining at a time, and the candidates of retraining that wait for a person's approval.

The next retraining waits, and one that comes while another waits already is not needed. The data of a candidate that
waits for approval is not trained on again meanwhile.
"""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from core import files, layout
from core.locks import try_lock

POLL_SECONDS = 0.2


class NotNeeded(Exception):
    """Another retraining waits for its turn already, and will see whatever this one would have seen."""


@contextlib.contextmanager
def one_at_a_time(home: Path, say: Callable[[str], None]) -> Iterator[None]:
    """Held while a retraining is at work; waits for the one before it.

    The kernel gives the locks back when a process ends, however it ends.

    Raises:
        NotNeeded: one is at work, and another one waits.
    """
    with contextlib.ExitStack() as stack:
        with contextlib.ExitStack() as waiting:
            if not _lock(layout.next_retraining_lock(home), waiting):
                raise NotNeeded("another retraining waits for its turn already, and will see the same data")
            if not _lock(layout.retraining_lock(home), stack):
                say("another retraining is at work; waiting for its end")
                while not _lock(layout.retraining_lock(home), stack):
                    time.sleep(POLL_SECONDS)  # rather than blocking in the kernel, where a cancellation is not heard
        yield


def _lock(path: Path, stack: contextlib.ExitStack) -> bool:
    descriptor = try_lock(path)
    if descriptor is not None:
        stack.callback(os.close, descriptor)
    return descriptor is not None


def pending(home: Path) -> list[str]:
    """The versions that wait for approval, such as ``base:2``."""
    try:
        return list(files.read_json(layout.pending_candidates(home), []))
    except (ValueError, TypeError):
        return []


def add_pending(home: Path, versions: Iterable[str]) -> None:
    """Note versions, whole or not at all. Lost, it costs one run that finds every stage cached."""
    known = set(pending(home))
    if not known.issuperset(versions := set(versions)):
        files.write_json(layout.pending_candidates(home), sorted(known | versions))
