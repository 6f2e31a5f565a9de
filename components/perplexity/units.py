"""Texts as tokens of an n-gram model: known words, and other words spelled, so that no text is beyond it.

Words and signs are those of :mod:`components.text_classifier.features`, in lower case and with all digits alike (as
CCNet normalizes them). A word that is not known is the mark ``SPELLED`` and its characters, whose tokens are others
than those of words of one character; so no two texts have the same tokens but for white space, digits and case.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import Any

import numpy as np

from components.curate.text.code_points import compiled, laid_out, those
from components.text_classifier.features import kinds

Array = np.ndarray[Any, Any]

BEGIN, SPELLED, UNKNOWN = 0, 1, 2  # tokens: before a text; before a spelled word; a character that is not known
FIRST = 3  # token of a character
ORDER = 5
SCALE = 1 << 16  # of the bits' fixed point
UNKNOWN_BITS = 20  # to say which of a million characters an unknown one is
START = np.uint64(0x243F6A8885A308D3)  # of the hash of an n-gram
_NONE, _WORD = 0, 1  # of `kinds`
_FACTOR = np.uint64(0x9E3779B97F4A7C15)


@compiled
def mixed(value):  # type: ignore[no-untyped-def]
    """The finalizer of MurmurHash3."""
    value = (value ^ (value >> np.uint64(33))) * np.uint64(0xFF51AFD7ED558CCD)
    value = (value ^ (value >> np.uint64(33))) * np.uint64(0xC4CEB9FE1A85EC53)
    return value ^ (value >> np.uint64(33))


@compiled
def table_of(keys: Array) -> Array:
    """Places of the keys (uint64, different) in a table of open addressing (int32; -1: free), half of it free."""
    size = 2
    while size < 2 * len(keys):
        size *= 2
    table = np.full(size, -1, np.int32)
    for number in range(len(keys)):
        place = np.int64(keys[number] & np.uint64(size - 1))
        while table[place] >= 0:
            place = (place + 1) & (size - 1)
        table[place] = number
    return table


@compiled
def found_in(table: Array, keys: Array, key: Any) -> int:
    """The number of a key, or -1."""
    place = np.int64(key & np.uint64(len(table) - 1))
    while table[place] >= 0:
        if keys[table[place]] == key:
            return table[place]
        place = (place + 1) & (len(table) - 1)
    return -1


def laid_out_plain(texts: Sequence[str]) -> tuple[Array, Array]:
    """Code points of the texts in lower case, each digit as 0, end to end (uint32), and where each begins (int64)."""
    codes, starts = laid_out([text.lower() for text in texts])
    return np.where(_digits()[codes], np.uint32(ord("0")), codes).astype(np.uint32), starts


@cache
def _digits() -> Array:
    return those(str.isdecimal, 1).astype(bool)


@cache
def kinds_of_signs() -> Array:
    """As :func:`components.text_classifier.features.kinds`, which depends on this version of Unicode."""
    return kinds()


@compiled
def _word(codes, place, end, of_kind):  # type: ignore[no-untyped-def]
    """Where the word or sign that begins at a place ends, and its hash."""
    begin, kind = place, of_kind[codes[place]]
    value = np.uint64(0)
    while place < end and (place == begin or (kind == _WORD and of_kind[codes[place]] == _WORD)):
        value = value * _FACTOR + np.uint64(codes[place]) + np.uint64(1)
        place += 1
    return place, mixed(value)


@compiled
def words(codes: Array, starts: Array, of_kind: Array) -> Array:
    """The hash of every word and sign of the texts (uint64), in order."""
    found = np.empty(len(codes), np.uint64)
    count = 0
    for text in range(len(starts) - 1):
        place, end = starts[text], starts[text + 1]
        while place < end:
            if of_kind[codes[place]] == _NONE:
                place += 1
                continue
            place, found[count] = _word(codes, place, end, of_kind)
            count += 1
    return found[:count].copy()


@compiled
def tokens(
    codes: Array,
    starts: Array,
    of_kind: Array,
    characters: Array,
    word_table: Array,
    word_hashes: Array,
    first_word: int,
) -> tuple[Array, Array, Array]:
    """The tokens of the texts (int32) in a row, where each text begins there (int64), and the bytes of UTF-8 that each
    has without white space (int64).

    Args:
        characters: token of each code point (int32); :data:`UNKNOWN` where it is not known.
        word_table: of :func:`table_of` the hashes of the known words.
        first_word: token of the first of these.
    """
    found = np.empty(2 * len(codes), np.int32)
    begins = np.zeros(len(starts), np.int64)
    sizes = np.zeros(len(starts) - 1, np.int64)
    count = 0
    for text in range(len(starts) - 1):
        place, end = starts[text], starts[text + 1]
        while place < end:
            if of_kind[codes[place]] == _NONE:
                place += 1
                continue
            begin = place
            place, hashed = _word(codes, begin, end, of_kind)
            for at in range(begin, place):
                code = codes[at]
                sizes[text] += 1 + (code >= 0x80) + (code >= 0x800) + (code >= 0x10000)
            known = found_in(word_table, word_hashes, hashed)
            if known >= 0:
                found[count] = first_word + known
                count += 1
                continue
            found[count] = SPELLED
            count += 1
            for at in range(begin, place):
                found[count] = characters[codes[at]]
                count += 1
        begins[text + 1] = count
    return found[:count].copy(), begins, sizes


@compiled
def total_bits(
    tokens: Array, begins: Array, unigrams: Array, table: Array, grams: Array, costs: Array, backoffs: Array
) -> Array:
    """Bits of every text, times SCALE (int64); before a text stand as many BEGIN as are looked at."""
    found = np.zeros(len(begins) - 1, np.int64)
    context = np.empty(ORDER, np.int64)  # the numbers of the n-grams that end before a token, by length; -1: none
    own = np.empty(ORDER, np.int64)
    for text in range(len(begins) - 1):
        start, end = begins[text], begins[text + 1]
        total = np.int64(0)
        value = START
        for length in range(1, ORDER):
            value = mixed(value + np.uint64(BEGIN) + np.uint64(1))
            context[length] = found_in(table, grams, value)
        for place in range(start, end):
            token = tokens[place]
            value = mixed(START + np.uint64(token) + np.uint64(1))
            own[1] = found_in(table, grams, value)
            cost = np.int64(unigrams[token])
            if token == UNKNOWN:
                total += UNKNOWN_BITS * SCALE
            for length in range(1, ORDER):  # of the context
                before = tokens[place - length] if place - length >= start else np.int32(BEGIN)
                value = mixed(value + np.uint64(before) + np.uint64(1))
                number = found_in(table, grams, value)
                if number >= 0 and costs[number] >= 0:
                    cost = np.int64(costs[number])
                elif context[length] >= 0:
                    cost += backoffs[context[length]]
                if length + 1 < ORDER:
                    own[length + 1] = number
            for length in range(1, ORDER):
                context[length] = own[length]
            total += cost
        found[text] = total
    return found
