"""Which of many keys is the first of its kind: equal ones come together by their hash, a partition at a time."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from components.curate.deduplication.disk import PARTITION, emptied, on_disk, release
from core.partitions import Partitions

_RECORD = np.dtype([("high", "<u8"), ("low", "<u8"), ("number", "<u4")])


def firsts(keys: Iterable[NDArray[np.uint64]], most: int, folder: Path) -> NDArray[np.uint32]:
    """For each key the number of the first one that equals it, as an array on disk.

    Args:
        keys: blocks ``[n, 2]`` of 128-bit keys, which must be spread evenly over all values (as hashes are).
        most: keys that there may be.
        folder: removed if it is there; holds the result, ``folder/first``.
    """
    folder = emptied(folder)
    parts = max(1, most * _RECORD.itemsize // PARTITION)
    partitions, count = Partitions(folder / "keys", _RECORD), 0
    for block in keys:
        records = np.empty(len(block), _RECORD)
        records["high"], records["low"] = block[:, 0], block[:, 1]
        records["number"] = np.arange(count, count + len(block))
        partitions.add(records, part_of(block[:, 0], parts))
        count += len(block)
    first = on_disk(folder / "first", count, np.uint32)
    for part in range(parts):
        records = partitions.take(part)
        if not len(records):
            continue
        records = records[np.lexsort((records["low"], records["high"]))]  # stable: the first of equal ones stays first
        new = np.ones(len(records), bool)
        new[1:] = (records["high"][1:] != records["high"][:-1]) | (records["low"][1:] != records["low"][:-1])
        first[records["number"]] = records["number"][np.maximum.accumulate(np.where(new, np.arange(len(new)), 0))]
        release(first)
    return first


def part_of(keys: NDArray[np.uint64], parts: int) -> NDArray[np.int64]:
    """Which of so many partitions each key belongs to, by its upper half."""
    return ((keys >> np.uint64(32)) * np.uint64(parts) >> np.uint64(32)).astype(np.int64)
