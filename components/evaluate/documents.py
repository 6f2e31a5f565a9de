"""Documents of the corpus: bounded, seeded samples of a split, whatever its size."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from core.errors import InputProblem

_BATCH_ROWS = 4096


@dataclass(frozen=True)
class Document:
    """One document. ``group`` is the cluster for standard errors: documents of one module share it."""

    text: str
    kind: str
    group: str


@dataclass(frozen=True)
class Sample:
    """``documents`` in corpus order, drawn from ``available`` ones of the split."""

    documents: list[Document]
    available: int


def sample(corpus: Path, split: str, limit: int, seed: int) -> Sample:
    """At most ``limit`` documents of ``split``, drawn without replacement and kept in order.

    Raises:
        InputProblem: the split is missing or empty, or a shard lacks a column or cannot be read.
    """
    shards = sorted(corpus.glob(f"{split}-*.parquet"))
    problems, rows = [], []
    for path in shards:
        try:
            with pq.ParquetFile(path) as file:
                missing = {"text", "kind", "group"} - set(file.schema_arrow.names)
                rows.append(file.metadata.num_rows)
        except (OSError, pa.ArrowException) as error:
            problems.append(f"{corpus.name}/{path.name} is not a readable parquet file: {error}")
            continue
        problems += [f"{corpus.name}/{path.name} has no column {column!r}" for column in sorted(missing)]
    if not problems and not sum(rows):
        problems.append(
            f"the corpus has no documents in its {split} split, so nothing can be measured on it; add sources, or give "
            f"the split a larger share under `curate`"
        )
    if problems:
        raise InputProblem(problems)
    available = sum(rows)
    wanted = np.arange(available)
    if available > limit:
        wanted = np.sort(np.random.default_rng(seed).choice(available, size=limit, replace=False))
    documents: list[Document] = []
    start = 0
    for path in shards:
        with pq.ParquetFile(path) as file:
            for batch in file.iter_batches(_BATCH_ROWS, columns=["text", "kind", "group"]):
                here = wanted[(wanted >= start) & (wanted < start + len(batch))] - start
                documents += [Document(**row) for row in batch.take(pa.array(here)).to_pylist()]
                start += len(batch)
    return Sample(documents, available)
