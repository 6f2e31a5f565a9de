"""Stretches of text that stand somewhere earlier, in whatever document: found by sorted files, not by a suffix array.

What Lee et al. (2022, "Deduplicating Training Data Makes Language Models Better", EXACTSUBSTR) find by a suffix array
of the corpus in memory: a stretch of ``length`` characters is a *repeat* if an equal one ends before it begins, in an
earlier document or in its own. The hashes of all stretches would be 24 times the text; so the anchors are compared
first, and only stretches whose anchor is not unique are hashed (:mod:`~components.curate.deduplication.windows`).
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from components.curate.deduplication import windows
from components.curate.deduplication.disk import PARTITION, emptied, require_room
from components.curate.deduplication.first import part_of
from components.curate.text.code_points import laid_out
from core.partitions import Partitions

PIECE = 1 << 20  # characters, or stretches, that are looked at together
BLOCK = 1 << 22  # characters whose places are in memory together

_RECORD = np.dtype([("high", "<u8"), ("low", "<u8"), ("place", "<u8")])
Places = NDArray[np.int64]
Texts = Callable[[], Iterable[Sequence[str]]]
"""Gives all texts, in order, some at a time, each time it is called."""


class InOrder:
    """Places in the row of all texts, of which memory holds those of a block."""

    def __init__(self, folder: Path):
        self._partitions = Partitions(folder, "<i8")
        self._held, self._next = np.empty(0, np.int64), 0
        self.count = 0

    def add(self, places: Places) -> None:
        self._partitions.add(places, places // BLOCK)
        self.count += len(places)

    def until(self, end: int) -> Places:
        """Those before ``end`` that were not asked for yet, each once, in order."""
        while self._next * BLOCK < end:
            places = np.sort(self._partitions.take(self._next))  # np.unique hashes, which takes ten times as long
            self._held = np.concatenate([self._held, places[_begins(places)]])
            self._next += 1
        edge = int(np.searchsorted(self._held, end))
        found, self._held = self._held[:edge], self._held[edge:]
        return found


def find(texts: Texts, characters: int, length: int, seed: int, folder: Path) -> InOrder:
    """Where the repeats of ``length`` characters begin, in the row of all texts.

    Memory: a document, :data:`PIECE`, a partition (16 MiB) with what is sorted of it, and places of :data:`BLOCK`. On
    disk half a byte a character, and 24 for each stretch whose anchor is not unique.

    Args:
        characters: of all texts.
        folder: removed if it is there.

    Raises:
        InputProblem: the disk has no room.
    """
    folder, run = emptied(folder), windows.run_of(length)
    expected = 2 * characters * _RECORD.itemsize // (length - run + 2)  # of random text: Schleimer et al., section 3.2
    require_room(folder, expected, "finding repeated passages")
    parts = 1 + expected // PARTITION
    keys, begin, stretches, count = Partitions(folder / "anchors", _RECORD), 0, 0, 0
    for codes, starts in _laid_out(texts()):
        hashes, ranges = windows.anchors(codes, starts, length, run)
        keys.add(_records(hashes, np.zeros_like(hashes), begin + ranges[:, 0]), part_of(hashes, parts))
        stretches, count, begin = (
            stretches + int((ranges[:, 1] - ranges[:, 0]).sum()),
            count + len(ranges),
            begin + len(codes),
        )
    shared = InOrder(folder / "shared")
    for places, firsts in _again(keys, parts):
        shared.add(np.concatenate([places, np.unique(firsts)]))
    expected = shared.count * stretches // max(count, 1) * _RECORD.itemsize
    require_room(folder, expected, "comparing passages")
    parts, begin = 1 + expected // PARTITION, 0
    keys = Partitions(folder / "stretches", _RECORD)
    points = _points(seed)
    for codes, starts in _laid_out(texts()):
        ranges = windows.anchors(codes, starts, length, run)[1]
        ranges = ranges[np.isin(ranges[:, 0], shared.until(begin + len(codes)) - begin, assume_unique=True)]
        for some in _pieces(ranges):
            hashes = windows.hashed(codes, some, length, points)
            records = _records(hashes[:, 0], hashes[:, 1], begin + _each(some))
            keys.add(records, part_of(hashes[:, 0] << np.uint64(3), parts))
        begin += len(codes)
    repeats = InOrder(folder / "repeats")
    for places, firsts in _again(keys, parts):
        repeats.add(places[places >= firsts + length])
    return repeats


def _points(seed: int) -> NDArray[np.uint64]:
    drawn = random.Random(f"repeats {seed}")
    return np.array([drawn.randrange(1 << 32, windows.PRIME) for _ in range(2)], np.uint64)


def _laid_out(texts: Iterable[Sequence[str]]) -> Iterator[tuple[NDArray[Any], NDArray[Any]]]:
    """Code points of the texts, about :data:`PIECE` at a time, and where each begins."""
    for some in texts:
        waiting: list[str] = []
        size = 0
        for text in some:
            if waiting and size + len(text) > PIECE:
                yield laid_out(waiting)
                waiting, size = [], 0
            waiting.append(text)
            size += len(text)
        if waiting:
            yield laid_out(waiting)


def _pieces(ranges: Places) -> Iterator[Places]:
    """The ranges, about :data:`PIECE` stretches at a time."""
    if len(ranges):
        number = np.cumsum(ranges[:, 1] - ranges[:, 0]) // PIECE
        yield from np.split(ranges, np.flatnonzero(np.diff(number)) + 1)


def _each(ranges: Places) -> Places:
    """All places in the ranges, in order."""
    sizes = ranges[:, 1] - ranges[:, 0]
    ends = np.cumsum(sizes)
    return np.arange(sizes.sum()) + np.repeat(ranges[:, 0] - ends + sizes, sizes)


def _records(high: NDArray[np.uint64], low: NDArray[np.uint64], places: Places) -> NDArray[Any]:
    records = np.empty(len(high), _RECORD)
    records["high"], records["low"], records["place"] = high, low, places
    return records


def _again(keys: Partitions, parts: int) -> Iterator[tuple[Places, Places]]:
    """Places of the records whose key was there before, and for each the first place of that key.

    A file may be larger than others where one key is very common, so it is read in blocks, too; only different keys
    are kept.
    """
    for part in range(parts):
        known = np.empty(0, _RECORD)
        for records in keys.blocks(part, 2 * PARTITION // _RECORD.itemsize):
            both = np.concatenate([known, records]) if len(known) else records
            high, low = np.ascontiguousarray(both["high"]), np.ascontiguousarray(both["low"])
            order = np.argsort(high)
            begins, same_low = _begins(high[order]), ~_begins(low[order])
            if not (begins | same_low).all():  # equal in one half of the hash alone
                order = np.lexsort((low, high))
                begins = _begins(high[order]) | _begins(low[order])
            places = both["place"].astype(np.int64)[order]
            starts = np.flatnonzero(begins)
            first = np.minimum.reduceat(places, starts)
            firsts = np.repeat(first, np.diff(np.append(starts, len(places))))
            again = places != firsts
            yield places[again], firsts[again]
            known = both[order[~again]]


def _begins(ordered: NDArray[Any]) -> NDArray[np.bool_]:
    """True where a value is not the one before it."""
    found = np.ones(len(ordered), bool)
    np.not_equal(ordered[1:], ordered[:-1], out=found[1:])
    return found
