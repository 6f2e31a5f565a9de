"""Every stretch of so many characters of a text, known by its hash; and one anchor for many that follow each other.

The hash of a stretch is that of Karp and Rabin (1987), 61 bits each at two points drawn from the seed. Two that differ
are taken for equal with a probability of at most (length / 2**61) ** 2 (Schwartz-Zippel), whatever the texts are.

The anchor of a stretch is the smallest hash among its runs of half as many characters (winnowing; Schleimer, Wilkerson
and Aiken 2003). It depends on the stretch alone: equal stretches have equal anchors, so where an anchor is unique, so
are all stretches that it stands for. Of random text it stands for one in 50 characters where they have 200.
"""

from __future__ import annotations

import numpy as np

from components.curate.text.code_points import Array, compiled

PRIME = (1 << 61) - 1
_PRIME, _LOW31, _LOW30 = np.uint64(PRIME), np.uint64((1 << 31) - 1), np.uint64((1 << 30) - 1)
_FACTOR = np.uint64(0x9E3779B97F4A7C15)


def run_of(length: int) -> int:
    """Characters of the runs whose hashes are anchors of stretches of ``length`` characters."""
    return length // 2


@compiled
def _mixed(value):  # type: ignore[no-untyped-def]
    """The finalizer of SplitMix64 (Steele et al. 2014)."""
    value = (value ^ (value >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    value = (value ^ (value >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return value ^ (value >> np.uint64(31))


@compiled
def anchors(codes: Array, starts: Array, length: int, run: int) -> tuple[Array, Array]:
    """The anchors of all stretches of ``length`` characters.

    Args:
        codes: the texts' code points (uint32), laid end to end.
        starts: where each text begins, and the end of the last (int64).
        run: see :func:`run_of`.

    Returns:
        The hash of each anchor (uint64 ``[n]``), and of the stretches that it stands for the first, and the end behind
        the last (int64 ``[n, 2]``), in order.
    """
    room = np.int64(1024)
    hashes, ranges = np.empty(room, np.uint64), np.empty((room, 2), np.int64)
    found = np.int64(0)
    width = length - run + 1  # runs of a stretch
    waiting, places = np.empty(width, np.uint64), np.empty(width, np.int64)  # those that may be smallest yet
    leaving = np.uint64(1)
    for _ in range(run):
        leaving *= _FACTOR
    for text in range(len(starts) - 1):
        begin, end = starts[text], starts[text + 1]
        if end - begin < length:
            continue
        value = np.uint64(0)
        head, count = 0, 0
        last = np.int64(-1)  # place of the anchor before
        for place in range(begin, end):
            value = value * _FACTOR + np.uint64(codes[place])
            at = place - run + 1  # of the run that ends here
            if at < begin:
                continue
            if at > begin:
                value -= leaving * np.uint64(codes[at - 1])
            hashed = _mixed(value)
            stretch = at - width + 1  # the stretch whose last run this is
            while count and waiting[(head + count - 1) % width] > hashed:
                count -= 1
            if count and places[head] < stretch:
                head = (head + 1) % width
                count -= 1
            waiting[(head + count) % width], places[(head + count) % width] = hashed, at
            count += 1
            if stretch < begin:
                continue
            if places[head] != last:  # of equal ones the leftmost
                last = places[head]
                if found == room:
                    hashes = np.concatenate((hashes, np.empty(room, np.uint64)))
                    ranges = np.concatenate((ranges, np.empty((room, 2), np.int64)))
                    room *= 2
                hashes[found], ranges[found, 0] = waiting[head], stretch
                found += 1
            ranges[found - 1, 1] = stretch + 1
    return hashes[:found].copy(), ranges[:found].copy()


@compiled
def _times(one, other):  # type: ignore[no-untyped-def]
    """Product modulo 2**61 - 1 of two numbers below it."""
    high, low = one >> np.uint64(31), one & _LOW31
    other_high, other_low = other >> np.uint64(31), other & _LOW31
    middle = high * other_low + low * other_high
    product = (
        np.uint64(2) * high * other_high
        + (middle >> np.uint64(30))
        + ((middle & _LOW30) << np.uint64(31))
        + low * other_low
    )
    product = (product & _PRIME) + (product >> np.uint64(61))
    return product - _PRIME if product >= _PRIME else product


@compiled
def _follows(value, code, point):  # type: ignore[no-untyped-def]
    value = _times(value, point) + np.uint64(code)
    return value - _PRIME if value >= _PRIME else value


@compiled
def hashed(codes: Array, ranges: Array, length: int, points: Array) -> Array:
    """Both hashes of the stretches of ``length`` characters that begin in the ranges, in order (uint64 ``[n, 2]``).

    Args:
        ranges: first, and end behind the last (int64 ``[ranges, 2]``).
        points: where the two polynomials are evaluated (uint64 ``[2]``, below 2**61 - 1).
    """
    found = np.empty(((ranges[:, 1] - ranges[:, 0]).sum(), 2), np.uint64)
    leaving = np.ones(2, np.uint64)
    for _ in range(length):
        for which in range(2):
            leaving[which] = _times(leaving[which], points[which])
    one = other = np.uint64(0)
    done, before = 0, np.int64(-1)
    for number in range(len(ranges)):
        begin, end = ranges[number]
        if begin != before:
            one = other = np.uint64(0)
            for place in range(begin, begin + length):
                one = _follows(one, codes[place], points[0])
                other = _follows(other, codes[place], points[1])
        for place in range(begin, end):
            if place > begin or begin == before:
                gone, new = np.uint64(codes[place - 1]), codes[place + length - 1]
                one = _follows(one, new, points[0]) + _PRIME - _times(gone, leaving[0])
                other = _follows(other, new, points[1]) + _PRIME - _times(gone, leaving[1])
                one = one - _PRIME if one >= _PRIME else one
                other = other - _PRIME if other >= _PRIME else other
            found[done, 0], found[done, 1] = one, other
            done += 1
        before = end
    return found
