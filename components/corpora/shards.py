"""The documents of a corpus as batches of the columns that are wanted, and single ones by their number."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from core.errors import InputProblem

BATCH = 1024  # documents
NEEDED = ("id", "text")


@dataclass(frozen=True)
class Slice:
    """Documents that follow each other.

    Attributes:
        first: number of the first of them in the corpus.
    """

    split: str
    first: int
    batch: pa.RecordBatch


class Corpus:
    """A corpus on disk. Its documents are numbered in the order of the shards' names.

    Args:
        name: for messages.
        files: parquet files by their names, ``<split>-00000-of-0000N.parquet``.

    Raises:
        InputProblem: a file is none of parquet, or has no texts in a column ``id`` or ``text``.
    """

    def __init__(self, name: str, files: Mapping[str, Path]):
        self.name = name
        self._files = sorted(files.items())
        problems, counts, columns = [], [], []
        for shard, path in self._files:
            try:
                metadata = pq.read_metadata(path)
            except (OSError, pa.ArrowException) as error:
                problems.append(f"{name}: {shard} cannot be read ({str(error).splitlines()[0]})")
                continue
            schema = metadata.schema.to_arrow_schema()
            for column in NEEDED:
                kind = schema.field(column).type if column in schema.names else None
                if kind is None or not (pa.types.is_string(kind) or pa.types.is_large_string(kind)):
                    what = "has no column" if kind is None else f"has values of type {kind}, not text, in its column"
                    problems.append(f"{name}: {shard} {what} {column}, so it is no corpus")
            counts.append(metadata.num_rows)
            columns.append(set(schema.names))
        if problems:
            raise InputProblem(problems)
        self._starts = [0, *accumulate(counts)]
        self.columns: set[str] = set.intersection(*columns) if columns else set()

    @property
    def documents(self) -> int:
        return self._starts[-1]

    @property
    def splits(self) -> list[str]:
        """Names of the splits: training text first, then by name."""
        found = {_split(shard) for shard, _ in self._files}
        return sorted(found, key=lambda split: (split != "train", split != "validation", split))

    def count(self, split: str) -> int:
        """Documents of a split."""
        sizes = zip(self._starts, self._starts[1:], self._files, strict=False)
        return sum(stop - start for start, stop, (shard, _) in sizes if _split(shard) == split)

    def require_split(self, split: str | None) -> None:
        """Raise InputProblem where there is no such split."""
        if split is not None and split not in self.splits:
            raise InputProblem(f"{self.name} has no split {split!r}; there are {', '.join(self.splits)}")

    def slices(self, columns: Sequence[str], split: str | None = None) -> Iterator[Slice]:
        """The documents of a split, or of all, with those of the columns that there are.

        Raises:
            InputProblem: a shard is damaged.
        """
        wanted = [column for column in columns if column in self.columns]
        for index, (shard, path) in enumerate(self._files):
            if split is not None and _split(shard) != split:
                continue
            first = self._starts[index]
            try:
                with pq.ParquetFile(path) as file:
                    for batch in file.iter_batches(BATCH, columns=wanted):
                        yield Slice(_split(shard), first, batch)
                        first += batch.num_rows
            except (OSError, pa.ArrowException) as error:
                raise self._damaged(shard, error) from error

    def rows(self, numbers: Sequence[int]) -> dict[int, dict[str, Any]]:
        """Documents by their numbers, with all columns and their ``split``; only row groups that hold one are read."""
        found: dict[int, dict[str, Any]] = {}
        waiting = sorted(set(numbers))
        while waiting:
            index = bisect_right(self._starts, waiting[0]) - 1
            here = [number for number in waiting if number < self._starts[index + 1]]
            waiting = waiting[len(here) :]
            shard, path = self._files[index]
            try:
                with pq.ParquetFile(path) as file:
                    first = self._starts[index]
                    for group in range(file.num_row_groups):
                        count = file.metadata.row_group(group).num_rows
                        places = [number - first for number in here if first <= number < first + count]
                        if places:
                            for place, row in zip(
                                places, file.read_row_group(group).take(places).to_pylist(), strict=True
                            ):
                                found[first + place] = {**row, "split": _split(shard)}
                        first += count
            except (OSError, pa.ArrowException) as error:
                raise self._damaged(shard, error) from error
        return found

    def _damaged(self, shard: str, error: Exception) -> InputProblem:
        return InputProblem(f"{self.name}: {shard} is damaged ({str(error).splitlines()[0]}): make or fetch it again")


def _split(shard: str) -> str:
    return shard.removesuffix(".parquet").split("-")[0]
