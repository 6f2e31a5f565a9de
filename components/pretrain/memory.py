"""Memory of a training on processors: kept between steps instead of being asked of the kernel again."""

from __future__ import annotations

import ctypes
import sys

_M_TRIM_THRESHOLD, _M_MMAP_MAX = -1, -4  # malloc.h of glibc


def keep_freed_memory() -> None:
    """Have malloc keep freed memory for the next allocation of its size. Changes no number; glibc only.

    glibc gives every large tensor pages of its own and returns them when it is freed, so that each step takes the
    same hundreds of megabytes page by page, zeroed, from the kernel: 7 to 8 % of a step of a 13M-parameter model, and
    7 % more without huge pages. The largest resident set did not grow (1.47 against 1.57 GB).
    """
    if sys.platform != "linux" or not hasattr(libc := ctypes.CDLL(None), "mallopt"):
        return
    libc.mallopt(_M_MMAP_MAX, 0)
    libc.mallopt(_M_TRIM_THRESHOLD, -1)  # never
