"""A test split that stays: its documents are those of an earlier corpus, whatever else is read.

The rows are taken as that corpus held them, and stand first, so whatever repeats one of them is dropped as its copy.
What only resembles one (``deduplication.split_threshold``) or is a sibling of one (same group) may not be trained on
either; and since the split shall stay, it cannot join it: it is left out.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from components.curate.documents import COLUMNS, Document
from components.curate.user_files import UserFile, find_held_out

_BATCH = 1024


def problems(patterns: Sequence[str], workspace: Path) -> list[str]:
    """What is wrong with the files that ``curate.split.held_out`` names."""
    found = []
    for file in find_held_out(patterns, workspace)[0]:
        try:
            names = pq.read_schema(file.path).names
        except (OSError, pa.ArrowException) as error:
            found.append(f"curate.split.held_out: {file.name}: cannot be read as parquet ({error})")
            continue
        if missing := sorted(set(COLUMNS) - set(names)):
            found.append(
                f"curate.split.held_out: {file.name}: has no column {', '.join(missing)}; it must be a shard of a "
                "corpus, such as data/corpus/test-00000-of-00001.parquet"
            )
    return found


def documents(files: Iterable[UserFile]) -> Iterator[Document]:
    """The held-out documents, in the order of the shards."""
    for file in files:
        with pq.ParquetFile(file.path) as opened:
            for batch in opened.iter_batches(_BATCH, columns=list(COLUMNS)):
                for row in batch.to_pylist():
                    yield Document(**{name: value for name, value in row.items() if name != "id"})


def relatives(
    frozen: set[int], links: Iterable[tuple[int, int]], groups: Sequence[str], origins: Sequence[str]
) -> set[int]:
    """Numbers of other documents that resemble a held-out one, or are its siblings.

    A row on its own has its place in the file as its group, which another row may have after an edit: that is none.
    """
    shared = {groups[number] for number in frozen if groups[number] != origins[number]}
    found = {number for number, group in enumerate(groups) if group in shared}
    for one, other in links:
        if one in frozen:
            found.add(other)
        if other in frozen:
            found.add(one)
    return found - frozen
