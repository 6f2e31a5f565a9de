"""Tasks for the pool's processes, which import them by name."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path


def square(number: int) -> int:
    """Later tasks end earlier, so that the order is the pool's merit."""
    time.sleep(0.05 / (1 + number))
    return number * number


def process(_: int) -> int:
    return os.getpid()


def fail_at_three(number: int) -> int:
    if number == 3:
        raise ValueError("three")
    return number


def die_once(marker: str, number: int) -> int:
    """The worker that comes first to task 3 is killed, as for want of memory."""
    if number == 3:
        try:
            Path(marker).touch(exist_ok=False)
        except FileExistsError:
            return 9
        os.kill(os.getpid(), signal.SIGKILL)
    return number * number


def die(number: int) -> int:
    os.kill(os.getpid(), signal.SIGKILL)
    return number
