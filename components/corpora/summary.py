"""What a corpus is made of: documents and bytes by split, and within each by source, licence, kind and language."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from components.corpora.shards import Corpus

BY = ("source", "license", "language", "kind")
MOST_VALUES = 1000  # that are counted apart
OTHERS = "(others)"

Counts = dict[str, int]


def summarize(corpus: Corpus) -> dict[str, Any]:
    """Documents and bytes (UTF-8, of the texts) of every split.

    Returns:
        ``{"splits": {split: counts}, "by": {column: {value: {split: counts}}}}``, for the columns that there are.
        After a thousand values of a column the rest is counted together.
    """
    columns = [column for column in BY if column in corpus.columns]
    splits: dict[str, Counts] = {split: _none() for split in corpus.splits}
    by: dict[str, dict[str, dict[str, Counts]]] = {column: {} for column in columns}
    for part in corpus.slices(["text", *columns]):
        sizes = pc.binary_length(part.batch["text"]).cast(pa.int64())
        _add(splits[part.split], part.batch.num_rows, pc.sum(sizes).as_py() or 0)
        for column in columns:
            for value, documents, size in _grouped(part.batch[column], sizes):
                known = by[column]
                name = value if value in known or len(known) < MOST_VALUES else OTHERS
                _add(known.setdefault(name, defaultdict(_none))[part.split], documents, size)
    ordered = {
        column: dict(sorted(values.items(), key=lambda item: (-sum(c["bytes"] for c in item[1].values()), item[0])))
        for column, values in by.items()
    }
    return {"splits": splits, "by": ordered}


def tokens_of(summary: dict[str, Any], report: dict[str, Any] | None) -> dict[str, int]:
    """Tokens by split, of a report of ``tokenize``, for the splits that are the same in number and size."""
    found = (report or {}).get("splits", {})
    return {
        split: found[split]["tokens"]
        for split, counts in summary["splits"].items()
        if split in found and all(found[split].get(name) == counts[name] for name in ("documents", "bytes"))
    }


def _grouped(values: pa.Array, sizes: pa.Array) -> Iterator[tuple[str, int, int]]:
    table = pa.table({"value": values, "bytes": sizes}).group_by("value")
    for row in table.aggregate([("bytes", "count"), ("bytes", "sum")]).to_pylist():
        yield str("-" if row["value"] is None else row["value"]), row["bytes_count"], row["bytes_sum"] or 0


def _none() -> Counts:
    return {"documents": 0, "bytes": 0}


def _add(counts: Counts, documents: int, size: int) -> None:
    counts["documents"] += documents
    counts["bytes"] += size
