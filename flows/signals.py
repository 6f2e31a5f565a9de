"""SIGTERM and SIGHUP as an exception, so that stages save their checkpoints before the command ends."""

from __future__ import annotations

import contextlib
import signal
from collections.abc import Iterator


class Terminated(BaseException):
    """SIGTERM or SIGHUP came."""


@contextlib.contextmanager
def signals_as_exceptions() -> Iterator[None]:
    """Raise :class:`Terminated` in the main thread when a signal asks for the end. Only for the main thread."""

    def stop(number: int, _: object) -> None:
        raise Terminated(signal.Signals(number).name)

    previous = {number: signal.signal(number, stop) for number in (signal.SIGTERM, signal.SIGHUP)}
    try:
        yield
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
