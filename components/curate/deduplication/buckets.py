"""Documents that share a band of their signatures: locality-sensitive hashing (Indyk & Motwani 1998) by sorted files.

The keys of each band are written to disk, divided by their value; sorted, equal ones lie side by side. A bucket is two
or more documents with the same key. It gets a place for the documents that later ones are compared with, and an entry
for each of its documents goes to the file of that document's block.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from components.curate.deduplication.disk import PARTITION, Array, on_disk, release
from components.curate.deduplication.first import part_of
from core.partitions import Partitions

# Four rows to a band find pairs down to a similarity of about 0.5; the signatures then decide.
ROWS_PER_BAND = 4
# Documents of a bucket that a later one is compared with, the first that are kept: a bucket of a million, all with the
# same boilerplate, would otherwise mean 10 ** 12 pairs.
REPRESENTATIVES = 256

_KEY = np.dtype([("key", "<u8"), ("number", "<u4")])
_ENTRY = np.dtype([("number", "<u4"), ("bucket", "<u8")])


@dataclass
class Buckets:
    """Where documents meet.

    Attributes:
        places: room for the representatives of all buckets; each begins with their number, which is 0.
        shared: 1 for each document that is in a bucket.
        entries: document and bucket (its first place), a file for each block of documents.
        block: documents of a block.
        representatives: at most so many of a bucket.
    """

    places: NDArray[np.uint32]
    shared: NDArray[np.uint8]
    entries: Partitions
    block: int
    representatives: int

    def of_block(self, number: int) -> Array:
        """The entries of a block, by document, then by bucket; they can be asked for once."""
        entries = self.entries.take(number)
        return entries[np.lexsort((entries["bucket"], entries["number"]))]


def bytes_needed(documents: int, permutations: int) -> int:
    """Bytes on disk of the keys of so many documents; their entries take no more, and take their place."""
    return documents * (permutations // ROWS_PER_BAND) * _KEY.itemsize


def find(
    signatures: Iterable[tuple[NDArray[np.int64], NDArray[np.uint32]]],
    documents: int,
    permutations: int,
    folder: Path,
    block: int,
    representatives: int,
) -> Buckets:
    """The buckets of all documents.

    Args:
        signatures: numbers of documents (ascending) and their signatures ``[n, permutations]``.
        documents: how many there may be.
        folder: of the files; must exist.
        block: documents whose entries are wanted together.
    """
    bands = permutations // ROWS_PER_BAND
    parts = max(1, documents * _KEY.itemsize // PARTITION)
    keys = Partitions(folder / "keys", _KEY)
    for numbers, values in signatures:
        hashed = _hashed(values)
        for band in range(bands):
            records = np.empty(len(numbers), _KEY)
            records["key"], records["number"] = hashed[:, band], numbers
            keys.add(records, part_of(records["key"], parts) + band * parts)
    entries = Partitions(folder / "entries", _ENTRY)
    shared = on_disk(folder / "shared", documents, np.uint8)
    room = 0
    for part in range(bands * parts):
        found, taken = _met(keys.take(part), room, representatives)
        room += taken
        shared[found["number"]] = 1
        release(shared)
        entries.add(found, found["number"] // block)
    return Buckets(on_disk(folder / "places", room, np.uint32), shared, entries, block, representatives)


def _hashed(values: NDArray[np.uint32]) -> NDArray[np.uint64]:
    """64 bits of every band, ``[n, bands]``. Two bands that get the same by chance only cost a comparison."""
    rows = values.reshape(len(values), values.shape[1] // ROWS_PER_BAND, ROWS_PER_BAND)
    found = np.zeros(rows.shape[:2], np.uint64)
    for row in range(ROWS_PER_BAND):  # the finalizer of SplitMix64 (Steele et al. 2014) after each value
        found += rows[:, :, row] + np.uint64(0x9E3779B97F4A7C15)
        found = (found ^ (found >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        found = (found ^ (found >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        found ^= found >> np.uint64(31)
    return found


def _met(records: Array, room: int, representatives: int) -> tuple[Array, int]:
    """Entries of the documents that share a key, and the room that their buckets take behind ``room``."""
    records = records[np.argsort(records["key"], kind="stable")]
    same = records["key"][1:] == records["key"][:-1]
    member = np.zeros(len(records), bool)
    member[1:] |= same
    member[:-1] |= same
    records = records[member]
    begins = np.ones(len(records), bool)
    begins[1:] = records["key"][1:] != records["key"][:-1]
    starts = np.flatnonzero(begins)
    sizes = np.diff(np.append(starts, len(records)))
    room_each = 1 + np.minimum(sizes, representatives)
    places = room + np.cumsum(room_each) - room_each
    entries = np.empty(len(records), _ENTRY)
    entries["number"], entries["bucket"] = records["number"], np.repeat(places, sizes)
    return entries, int(room_each.sum())
