"""SIGINT, SIGTERM and SIGHUP as an exception, so that stages save their checkpoints before the command ends."""

from __future__ import annotations

import contextlib
import signal
from collections.abc import Iterator

_ASKING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Terminated(BaseException):
    """A signal asked for the end; ``code`` is what a shell expects the process to end with."""

    def __init__(self, number: int):
        super().__init__(signal.Signals(number).name)
        self.code = 128 + number


@contextlib.contextmanager
def signals_as_exceptions() -> Iterator[None]:
    """Raise :class:`Terminated` in the main thread when a signal asks for the end. Only for the main thread."""

    def stop(number: int, _: object) -> None:
        raise Terminated(number)

    previous = {number: signal.signal(number, stop) for number in _ASKING}
    try:
        yield
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
