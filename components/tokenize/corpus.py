"""The corpus, read as a stream: parquet shards named by split, with a ``text`` column."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from core.errors import InputProblem

SPLITS = ("train", "validation", "test")


def shards(corpus: Path, split: str) -> list[Path]:
    """The split's parquet files, in the order of their names."""
    return sorted(corpus.glob(f"{split}-*.parquet"))


def is_empty(corpus: Path) -> bool:
    """True for the corpus of a workspace without text: its shards are there, and have no rows."""
    files = [path for split in SPLITS for path in shards(corpus, split)]
    try:
        return bool(files) and not any(pq.read_metadata(path).num_rows for path in files)
    except (OSError, pa.ArrowException):
        return False  # :func:`check` says what is wrong


def check(corpus: Path) -> None:
    """Raise an :class:`InputProblem` with everything that makes ``corpus`` unusable."""
    problems = []
    for split in SPLITS:
        rows, readable = 0, True
        files = shards(corpus, split)
        for path in files:
            try:
                schema, rows_here = pq.read_schema(path), pq.read_metadata(path).num_rows
            except (OSError, pa.ArrowException) as error:
                problems.append(f"{path.name} is not a readable parquet file: {error}")
                readable = False
                continue
            rows += rows_here
            for column in ("text", "kind"):
                if column not in schema.names:
                    problems.append(f"{path.name} has no column {column!r}; its columns are {', '.join(schema.names)}")
                    readable = False
                elif not _is_text(schema.field(column).type):
                    problems.append(f"{path.name}: column {column!r} is {schema.field(column).type}, not text")
                    readable = False
        if split == "test" or not readable:
            continue
        if not files:
            problems.append(f"the corpus has no {split} split: there is no {split}-*.parquet in {corpus.name}")
        elif rows == 0:
            problems.append(f"the corpus has no documents in its {split} split; loosen the filters or add sources")
    if problems:
        raise InputProblem(problems)


def batches(corpus: Path, split: str, size: int) -> Iterator[tuple[list[str], list[str]]]:
    """Texts and kinds of the split's documents, at most ``size`` at a time."""
    for path in shards(corpus, split):
        with pq.ParquetFile(path) as file:
            for number, batch in enumerate(file.iter_batches(batch_size=size, columns=["text", "kind"])):
                texts, kinds = batch.column("text"), batch.column("kind")
                if texts.null_count:
                    row = number * size + texts.is_null().index(True).as_py()
                    raise InputProblem(f"{path.name}: {texts.null_count} rows have no text, the first is row {row}")
                yield texts.to_pylist(), [kind or "unknown" for kind in kinds.to_pylist()]


def documents(corpus: Path, split: str) -> int:
    """Number of documents in the split, from the files' footers alone."""
    return sum(pq.read_metadata(path).num_rows for path in shards(corpus, split))


def _is_text(kind: pa.DataType) -> bool:
    if pa.types.is_dictionary(kind):
        kind = kind.value_type
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind))
