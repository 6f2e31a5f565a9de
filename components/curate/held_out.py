"""A test split that stays: its documents are those of an earlier corpus, whatever else is read.

The rows are taken as that corpus held them, and stand first, so whatever repeats one of them is dropped as its copy.
What only resembles one (``deduplication.split_threshold``) or is a sibling of one (same group) may not be trained on
either; and since the split shall stay, it cannot join it: it is left out.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from components.curate.documents import COLUMNS, Document
from components.curate.files.user_files import UserFile, find_shards

_BATCH = 1024
BLOCK = 1 << 16  # documents that are looked at together
# Marks of a document: it repeats none; it is of the split that stays; a task holds it out; it is like one that stays.
KEPT, FROZEN, HELD, RELATIVE = 1, 2, 4, 8


def problems(patterns: Sequence[str], parameter: str, workspace: Path) -> list[str]:
    """What is wrong with the shards of an earlier corpus that ``parameter`` names."""
    found = []
    for file in find_shards(patterns, parameter, workspace)[0]:
        try:
            names = pq.read_schema(file.path).names
        except (OSError, pa.ArrowException) as error:
            found.append(f"{parameter}: {file.name}: cannot be read as parquet ({error})")
            continue
        if missing := sorted(set(COLUMNS) - set(names)):
            found.append(
                f"{parameter}: {file.name}: has no column {', '.join(missing)}; it must be a shard of a "
                "corpus, such as data/corpus/test-00000-of-00001.parquet"
            )
    return found


def documents(files: Iterable[UserFile]) -> Iterator[Document]:
    """The documents of an earlier corpus, in the order of the shards."""
    for file in files:
        with pq.ParquetFile(file.path) as opened:
            for batch in opened.iter_batches(_BATCH, columns=list(COLUMNS)):
                for row in batch.to_pylist():
                    yield Document(**{name: value for name, value in row.items() if name != "id"})


def mark_relatives(
    marks: NDArray[np.uint8], groups: NDArray[np.uint32], shared: NDArray[np.uint8], links: NDArray[np.uint32]
) -> None:
    """Mark other documents that resemble a held-out one (``FROZEN``), or are its siblings, as ``RELATIVE``.

    Args:
        marks: of every document; only those with the mark ``KEPT`` matter.
        groups: the first document of each one's group.
        shared: 1 at the first document of a group that a held-out document has in common with others. (A row on its own
            has its place in the file as its group, which another row may have after an edit: that is none.)
        links: pairs of documents that resemble each other.
    """
    for begin in range(0, len(marks), BLOCK):
        part = marks[begin : begin + BLOCK]
        part[(part == KEPT) & (shared[groups[begin : begin + BLOCK]] == 1)] |= RELATIVE
    for begin in range(0, len(links), BLOCK):
        one, other = links[begin : begin + BLOCK].T
        for frozen, beside in ((one, other), (other, one)):
            found = beside[(marks[frozen] & FROZEN) != 0]
            marks[found[marks[found] == KEPT]] |= RELATIVE
