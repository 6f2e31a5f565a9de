"""Hashes of word shingles, compiled: those that rensa computes of the shingles as strings, which are never made here.

The signatures are therefore those of :mod:`components.curate.deduplication.signatures`, the reference for this file.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rensa import RMinHash

from components.curate.text.code_points import Array, compiled, those

# Of rustc-hash 2.1, with which rensa hashes strings.
_SEED1, _SEED2 = np.uint64(0x243F6A8885A308D3), np.uint64(0x13198A2E03707344)
_COLLAPSE, _FACTOR = np.uint64(0xA4093822299F31D0), np.uint64(0xF1357AEA2E62A9C5)
_LOW, _HALF = np.uint64(0xFFFFFFFF), np.uint64(32)
_LEFT, _RIGHT = np.uint64(26), np.uint64(38)
_ONE, _EIGHT, _SIXTEEN = np.uint64(1), np.uint64(8), np.uint64(16)


@cache
def _word_signs() -> Array:
    """1 for each code point that the pattern ``\\w`` matches."""
    table: Array = those(str.isalnum, 1)
    table[ord("_")] = 1
    return table


@compiled
def _multiply_mix(one: Any, other: Any) -> Any:
    """Both halves of the product of 128 bits, combined."""
    a, b, c, d = one >> _HALF, one & _LOW, other >> _HALF, other & _LOW
    low, middle = b * d, a * d
    middle += low >> _HALF
    rest = (middle & _LOW) + b * c
    high = a * c + (middle >> _HALF) + (rest >> _HALF)
    return (one * other) ^ high


@compiled
def _four(content: Array, place: Any) -> Any:
    """Four bytes as a number, the lowest first. Places without a sign spare the question whether they are negative."""
    return (
        np.uint64(content[place])
        | np.uint64(content[place + _ONE]) << np.uint64(8)
        | np.uint64(content[place + np.uint64(2)]) << np.uint64(16)
        | np.uint64(content[place + np.uint64(3)]) << np.uint64(24)
    )


@compiled
def _eight(content: Array, place: Any) -> Any:
    return _four(content, place) | _four(content, place + np.uint64(4)) << _HALF


@compiled
def _hashed(content: Array, start: Any, end: Any) -> Any:
    """Of the bytes between two places (uint64)."""
    size = end - start
    one, other = _SEED1, _SEED2
    if size > _SIXTEEN:
        place = start
        while place < end - _SIXTEEN:
            mixed = _multiply_mix(one ^ _eight(content, place), _COLLAPSE ^ _eight(content, place + _EIGHT))
            one, other = other, mixed
            place += _SIXTEEN
        one ^= _eight(content, end - _SIXTEEN)
        other ^= _eight(content, end - _EIGHT)
    elif size >= _EIGHT:
        one ^= _eight(content, start)
        other ^= _eight(content, end - _EIGHT)
    elif size >= np.uint64(4):
        one ^= _four(content, start)
        other ^= _four(content, end - np.uint64(4))
    elif size > np.uint64(0):
        one ^= np.uint64(content[start])
        other ^= (np.uint64(content[end - _ONE]) << _EIGHT) | np.uint64(content[start + (size >> _ONE)])
    found = (_multiply_mix(one, other) ^ size) * _FACTOR
    return (found << _LEFT) | (found >> _RIGHT)


@compiled
def _decoded(content: Array, place: Any) -> tuple[Any, Any]:
    """The code point of several bytes of UTF-8, and how many they are (uint64)."""
    first = content[place]
    size = np.uint64(4 if first >= 0xF0 else 3 if first >= 0xE0 else 2)
    code = np.uint32(first & (0x7F >> size))
    for step in range(np.uint64(1), size):
        code = (code << np.uint32(6)) | np.uint32(content[place + step] & 0x3F)
    return code, size


@compiled
def _shingled(content: Array, starts: Array, words: int, signs: Array) -> tuple[Array, Array]:
    """Hashes of the shingles of all texts (UTF-8, in lower case), and where those of each text begin.

    A text without words has 0 alone.
    """
    hashes = np.empty(len(content) // 2 + len(starts) + 1, np.uint64)
    begins = np.zeros(len(starts), np.uint64)
    longest = np.diff(starts).max() if len(starts) > 1 else 0
    joined, at = np.empty(longest + 2, np.uint8), np.empty(longest // 2 + 2, np.uint64)
    count = 0
    for text in range(len(starts) - 1):
        place, end = np.uint64(starts[text]), np.uint64(starts[text + 1])
        filled, found = np.uint64(0), 0  # bytes of the words with one blank between them; words
        inside = False
        while place <= end:
            if place < end and content[place] < 128 and signs[content[place]]:  # most of most texts
                if not inside:
                    at[found] = filled
                    inside = True
                joined[filled] = content[place]
                filled += np.uint64(1)
                place += np.uint64(1)
                continue
            size, is_sign = np.uint64(1), False
            if place < end and content[place] >= 128:
                code, size = _decoded(content, place)
                is_sign = signs[code] != 0
            if is_sign:
                if not inside:
                    at[found] = filled
                    inside = True
                for step in range(size):
                    joined[filled] = content[place + step]
                    filled += np.uint64(1)
            elif inside:
                inside = False
                found += 1
                if found >= words:
                    hashes[count] = _hashed(joined, at[found - words], filled)
                    count += 1
                joined[filled] = 32
                filled += np.uint64(1)
            place += size
        if found < words:
            hashes[count] = _hashed(joined, np.uint64(0), filled - _ONE) if found else np.uint64(0)
            count += 1
        begins[text + 1] = count
    return hashes[:count], begins


def signatures(texts: Sequence[str], words: int, permutations: int, seed: int) -> NDArray[np.uint32]:
    """MinHash values of the texts' shingles, ``[texts, permutations]``."""
    lowered = [text.lower().encode() for text in texts]
    starts = np.zeros(len(texts) + 1, np.int64)
    np.cumsum(np.fromiter(map(len, lowered), np.int64, len(texts)), out=starts[1:])
    content = np.frombuffer(b"".join(lowered), np.uint8)
    hashes, begins = _shingled(content, starts, words, _word_signs())
    for place in np.flatnonzero((np.diff(begins) == 1) & (hashes[begins[:-1]] == 0)).tolist():
        # Its own shingle, as it is written.
        hashes[begins[place]] = RMinHash.hash_token_sets([[texts[place]]])[0][0]
    found = RMinHash.digest_matrix_from_flat_token_hashes(hashes, begins, permutations, seed & 0xFFFFFFFF)
    return np.array(found.to_rows(), np.uint32).reshape(len(texts), permutations)
