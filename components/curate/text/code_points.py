"""Texts as code points laid end to end, which compiled passes read: what each code point is, and phrases among them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache
from typing import Any

import numba
import numba.core.entrypoints
import numpy as np

from components.curate.compilation import KEPT
from core import python

# Numba would import what other packages have registered with it: awkward, of gigatoken, takes half a second.
numba.core.entrypoints._already_initialized = True
# And, for products of matrices, SciPy: a quarter of a second.
with python.hidden("scipy.linalg"):
    import numba.np.arraymath

Array = np.ndarray[Any, Any]


try:
    KEPT.mkdir(parents=True, exist_ok=True)
except OSError:  # an installation that is only read: compiled in every process
    _KEEPS = False
else:
    _KEEPS = True


def compiled(function: Callable[..., Any]) -> Any:
    """The function, compiled at its first use on a machine."""
    config: Any = numba.config
    usual, config.CACHE_DIR = config.CACHE_DIR, str(KEPT)  # read when a function is decorated
    try:
        return numba.njit(cache=_KEEPS, nogil=True, boundscheck=False)(function)
    finally:
        config.CACHE_DIR = usual


def laid_out(texts: Sequence[str]) -> tuple[Array, Array]:
    """All texts as code points end to end (uint32), and where each begins, with the end of the last (int64)."""
    codes = np.frombuffer("".join(texts).encode("utf-32-le", "surrogatepass"), np.uint32)
    starts = np.zeros(len(texts) + 1, np.int64)
    np.cumsum(np.fromiter(map(len, texts), np.int64, len(texts)), out=starts[1:])
    return codes, starts


def signs(characters: Sequence[str]) -> Array:
    """The code points of single characters (uint32)."""
    return np.array([ord(character) for character in characters], np.uint32)


@cache
def every() -> str:
    """All code points in order, halves of surrogate pairs among them."""
    return np.arange(0x110000, dtype="<u4").tobytes().decode("utf-32-le", "surrogatepass")


def those(test: Callable[[str], bool], bit: int) -> Array:
    """For every code point ``bit`` where the test of the character (a method of ``str``) holds, else 0 (uint8)."""
    holds = getattr(np.strings, test.__name__)  # the same test, of all at once
    found: Array = holds(np.arange(0x110000, dtype=np.uint32).view("U1")).astype(np.uint8) * np.uint8(bit)
    return found


@compiled
def is_in(code: Any, signs: Array) -> bool:
    for sign in signs:
        if sign == code:
            return True
    return False


@compiled
def stands(codes: Array, place: int, phrase: Array, any_case: bool) -> bool:
    """True if ``phrase`` is at ``place``, where there is room for it. ``any_case``: of ASCII; it is in lower case."""
    for sign in range(len(phrase)):
        code = codes[place + sign]
        if any_case and 65 <= code <= 90:
            code += np.uint32(32)
        if code != phrase[sign]:
            return False
    return True
