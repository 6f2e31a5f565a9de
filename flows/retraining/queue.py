"""One retraining at a time, and the candidates of retraining that wait for a person's approval.

The next retraining waits, and one that comes while another waits already is not needed. The data of a candidate that
waits for approval is not trained on again meanwhile.
"""

from __future__ import annotations

import contextlib
import json
import os
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

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


def pending(home: Path) -> list[str]:
    """The versions, such as ``base:2``."""
    try:
        return list(json.loads(_file(home).read_text(encoding="utf-8")))
    except (FileNotFoundError, json.JSONDecodeError, TypeError):
        return []


def add_pending(home: Path, versions: Iterable[str]) -> None:
    """Note versions, whole or not at all. Lost, it costs one run that finds every stage cached and asks again."""
    if not (versions := {*versions} - {*pending(home)}):
        return
    partial = _file(home).with_suffix(".json.partial")
    with open(partial, "w", encoding="utf-8") as file:
        json.dump(sorted({*pending(home), *versions}), file)
        file.flush()
        os.fsync(file.fileno())
    os.replace(partial, _file(home))


def _file(home: Path) -> Path:
    return home / "retrain.asked.json"
