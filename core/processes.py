"""A process's life: tied to its parent's, so that no trainer outlives its starter; and ended by signals."""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import sys
from collections.abc import Iterator

from core.errors import InputProblem

_PR_SET_PDEATHSIG, _PR_SET_CHILD_SUBREAPER = 1, 36  # linux/prctl.h
_ASKING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
NOTICE = "STEMMA_NOTICE_SECONDS"
_LIBC = ctypes.CDLL(None, use_errno=True) if sys.platform == "linux" else None


def die_with_parent(signal_number: int = signal.SIGTERM) -> None:
    """Ask the kernel to send this process ``signal_number`` when the thread that started it ends.

    Usable as ``preexec_fn``: the setting survives ``exec``. Elsewhere than on Linux it does nothing.
    """
    if _LIBC is not None:
        _LIBC.prctl(_PR_SET_PDEATHSIG, int(signal_number), 0, 0, 0)


def follow_starter(signal_number: int = signal.SIGTERM) -> None:
    """As :func:`die_with_parent`, for a process that does not know its starter's id; ends it where the starter is gone.

    Whoever adopted it is then of another session, while a starter of another session would have made it lead its own.
    """
    die_with_parent(signal_number)
    own = os.getsid(0)
    if own not in (os.getpid(), os.getsid(os.getppid())):
        os.kill(os.getpid(), signal_number)


def adopt_orphans() -> None:
    """Become the parent of every descendant whose own parent ends (Linux only), so that none is lost sight of."""
    if _LIBC is not None:
        _LIBC.prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def follow_parent(parent: int, signal_number: int = signal.SIGTERM) -> None:
    """As :func:`die_with_parent`, for a process that has just started and knows its parent's id.

    Closes the race in which the parent died before the setting was made.
    """
    die_with_parent(signal_number)
    if os.getppid() != parent:
        os.kill(os.getpid(), signal_number)


def notice_seconds() -> float:
    """Seconds from SIGTERM to the end of the machine: ``STEMMA_NOTICE_SECONDS``, 30 where it is not set.

    That is the notice of spot machines of Google Cloud and Azure, and the grace period of Kubernetes and Docker Swarm;
    AWS gives 120.

    Raises:
        InputProblem: it is set to something else than 10 to 3600.
    """
    given = os.environ.get(NOTICE, "30")
    if not given.isdecimal() or not 10 <= int(given) <= 3600:
        raise InputProblem(f"{NOTICE} is {given!r}: set it to the seconds between SIGTERM and SIGKILL, 10 to 3600")
    return float(given)


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
