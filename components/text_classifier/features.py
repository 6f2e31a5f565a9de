"""What a classifier sees of a text: hashed words and pairs of neighbouring words, as fastText does.

Joulin et al. 2017, "Bag of Tricks for Efficient Text Classification" (arXiv:1607.01759): word n-grams in a fixed number
of buckets (Weinberger et al. 2009). A word is a run of letters, digits and marks, in lower case; every other sign that
is no white space is one by itself, and so is each character of scripts that put no spaces between words.

All of it is arithmetic on unsigned integers over a whole batch of texts: the same everywhere, and no loop over words.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np

Array = np.ndarray[Any, Any]

BUCKETS = 1 << 20
_SHIFT = np.uint64(64 - 20)
_NONE, _WORD, _ALONE = 0, 1, 2
_PRIME, _PAIR = 0x9E3779B97F4A7C15, np.uint64(0xC2B2AE3D27D4EB4F)
_LONGEST = 64  # characters of a word, after which factors repeat
# Thai, Lao, Tibetan, Myanmar, Khmer; kana, ideographs and their compatibility forms and extensions.
_SPACELESS = (
    (0x0E00, 0x0FFF), (0x1000, 0x109F), (0x1780, 0x17FF), (0x3040, 0x30FF), (0x31F0, 0x31FF), (0x3400, 0x4DBF),
    (0x4E00, 0x9FFF), (0xF900, 0xFAFF), (0xFF66, 0xFF9F), (0x1B000, 0x1B16F), (0x20000, 0x323AF),
)  # fmt: skip


@dataclass(frozen=True)
class Features:
    """Features of a batch of texts.

    Attributes:
        buckets: of every word and, after it, of it with the next one, for all texts in a row; shape ``[2 words]``.
        real: false for the last word of a text, which has no next one; same shape.
        starts: where each text begins among them, and the end of the last; shape ``[texts + 1]``.
    """

    buckets: Array
    real: Array
    starts: Array

    @property
    def counts(self) -> Array:
        """Number of features of each text; shape ``[texts]``."""
        words = np.diff(self.starts) // 2
        return np.maximum(2 * words - 1, 0)


def extract(texts: Sequence[str]) -> Features:
    """The features of each text."""
    lowered = [text.lower() for text in texts]
    codes = np.frombuffer(("\n".join(lowered) + "\n").encode("utf-32-le", "surrogatepass"), np.uint32)
    ends = np.cumsum(np.fromiter((len(text) + 1 for text in lowered), np.int64, len(lowered)))
    of_kind = kinds()[codes]
    in_word = of_kind == _WORD
    begins = of_kind == _ALONE
    begins[0] |= in_word[0]
    begins[1:] |= in_word[1:] & ~in_word[:-1]
    places = np.flatnonzero(of_kind)  # of what is no white space; words lie end to end there
    starts = np.flatnonzero(begins[places])
    words = _hashes(codes[places], starts)
    bounds = np.concatenate([[0], np.searchsorted(places[starts], ends)]).astype(np.int64)
    found = np.empty((len(words), 2), np.uint64)
    found[:, 0] = words
    real = np.ones((len(words), 2), bool)
    if len(words):
        found[:-1, 1] = _mixed(words[:-1] * _PAIR + words[1:])
        found[-1, 1] = 0
        real[bounds[1:][np.diff(bounds) > 0] - 1, 1] = False
    return Features((found >> _SHIFT).astype(np.int64).reshape(-1), real.reshape(-1), 2 * bounds)


def totals(features: Features, weights: Array) -> Array:
    """Sum of the weights of each text's features, exactly; ``weights``: int32 ``[buckets]``; int64 ``[texts]``."""
    values = np.where(features.real, weights[features.buckets], 0).astype(np.int64)
    sums = np.concatenate([[0], np.cumsum(values)])
    return sums[features.starts[1:]] - sums[features.starts[:-1]]


def _hashes(codes: Array, starts: Array) -> Array:
    """A 64-bit hash of each word (uint64); ``starts``: where they begin among the codes."""
    if not len(starts):
        return np.zeros(0, np.uint64)
    lengths = np.diff(np.append(starts, len(codes)))
    offsets = np.arange(len(codes)) - np.repeat(starts, lengths)
    signs = _mixed(codes.astype(np.uint64) + np.uint64(1))
    return _mixed(np.add.reduceat(signs * _powers()[offsets % _LONGEST], starts))


def _mixed(values: Array) -> Array:
    """The finalizer of MurmurHash3, which spreads every bit over all (wraps around on purpose)."""
    values = (values ^ (values >> np.uint64(33))) * np.uint64(0xFF51AFD7ED558CCD)
    values = (values ^ (values >> np.uint64(33))) * np.uint64(0xC4CEB9FE1A85EC53)
    return values ^ (values >> np.uint64(33))


@cache
def _powers() -> Array:
    found, power = [], 1
    for _ in range(_LONGEST):
        found.append(power)
        power = power * _PRIME % (1 << 64)
    return np.array(found, np.uint64)


@cache
def kinds() -> Array:
    """Of each code point whether it belongs to a word, stands alone, or neither (uint8)."""
    of_category = {"L": _WORD, "M": _WORD, "N": _WORD, "Z": _NONE, "C": _NONE, "P": _ALONE, "S": _ALONE}
    categories = map(unicodedata.category, map(chr, range(0x110000)))
    kinds = np.frombuffer(bytearray(of_category[category[0]] for category in categories), np.uint8)
    for first, last in _SPACELESS:
        block = kinds[first : last + 1]
        block[block == _WORD] = _ALONE
    kinds[ord("_")] = _WORD
    return kinds
