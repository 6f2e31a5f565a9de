"""The corpus, read as a stream: parquet shards named by split, with a ``text`` column."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from core.errors import InputProblem

SPLITS = ("train", "validation", "test")
GROUPS = ("kind", "source", "language")  # columns by which the report divides the corpus, where it has them
BATCH_BYTES = 1 << 20
PART_BYTES = 16 << 20
_LONGEST_SAMPLE = 2_000  # characters
_SPACES = np.isin(np.arange(256), [9, 10, 11, 12, 13, 32])


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


@dataclass(frozen=True)
class CorpusPart:
    """Row groups of a shard, about ``PART_BYTES`` of text: what is encoded as one piece of work.

    Attributes:
        first, stop: the row groups, ``stop`` left out.
        bytes: of text, before compression.
    """

    split: str
    path: Path
    first: int
    stop: int
    documents: int
    bytes: int

    @property
    def name(self) -> str:
        return f"{self.path.stem}-{self.first:05d}"


def parts(corpus: Path, split: str) -> Iterator[CorpusPart]:
    """The split's parts in order, by the files' footers."""
    for path in shards(corpus, split):
        metadata = pq.read_metadata(path)
        first = documents = size = 0
        for number in range(metadata.num_row_groups):
            group = metadata.row_group(number)
            documents, size = documents + group.num_rows, size + _text_size(group)
            if size >= PART_BYTES or number == metadata.num_row_groups - 1:
                yield CorpusPart(split, path, first, number + 1, documents, size)
                first, documents, size = number + 1, 0, 0


def batches(part: CorpusPart, size: int, more: Sequence[str] = ()) -> Iterator[pa.RecordBatch]:
    """The part's documents in order, at most ``size`` and about ``BATCH_BYTES`` of text at a time.

    Columns: ``text`` (large_string), of ``GROUPS`` those that the corpus has, and ``more``, as they are.
    """
    names = pq.read_schema(part.path).names
    columns = ["text", *(name for name in GROUPS if name in names), *(name for name in more if name not in GROUPS)]
    # Nothing is read ahead: it would take more memory, and threads that come to more CPU time.
    with pq.ParquetFile(part.path, pre_buffer=False, buffer_size=BATCH_BYTES) as file:
        row = sum(file.metadata.row_group(number).num_rows for number in range(part.first))
        for number in range(part.first, part.stop):
            group = file.metadata.row_group(number)
            # As many rows as hold so much text by the group's mean.
            rows = min(size, max(1, BATCH_BYTES * group.num_rows // max(1, _text_size(group))))
            for batch in file.iter_batches(rows, row_groups=[number], columns=columns, use_threads=False):
                texts = batch.column("text")
                if texts.null_count:
                    row += texts.is_null().index(True).as_py()
                    raise InputProblem(
                        f"{part.path.name}: {texts.null_count} rows have no text, the first is row {row}"
                    )
                row += len(batch)
                batch = batch.set_column(batch.schema.get_field_index("text"), "text", texts.cast(pa.large_string()))
                del texts  # one may be long
                start = 0
                for piece in pieces(batch.column("text"), BATCH_BYTES):
                    yield batch.slice(start, len(piece))
                    start += len(piece)


def numbers(column: pa.Array) -> NDArray[Any]:
    """As its ``to_numpy``, of numbers without nulls. (That imports pandas wherever it is: 35 MB, and half a second.)"""
    kind = {"float": "float32", "double": "float64"}.get(str(column.type), str(column.type))
    values = np.frombuffer(column.buffers()[1] or b"", dtype=kind)
    return values[column.offset : column.offset + len(column)]


def text_bytes(texts: pa.LargeStringArray) -> NDArray[np.int64]:
    """Bytes of UTF-8 of each text."""
    return np.diff(_offsets(texts))


def pieces(texts: pa.LargeStringArray, size: int) -> Iterator[pa.LargeStringArray]:
    """The texts in pieces of at most ``size`` bytes; a longer text is a piece of its own."""
    ends = np.cumsum(text_bytes(texts))
    start = 0
    while start < len(texts):
        before = int(ends[start - 1]) if start else 0
        stop = max(start + 1, int(np.searchsorted(ends, before + size, side="right")))
        yield texts[start:stop]
        start = stop


def joined(texts: pa.LargeStringArray, separator: bytes) -> pa.Buffer:
    """The texts' UTF-8, ``separator`` after each."""
    if not len(texts):
        return pa.py_buffer(b"")
    ends = pa.py_buffer(np.array([0, 0, len(separator)], dtype=np.int64))
    empty_and_separator = pa.Array.from_buffers(pa.large_binary(), 2, [None, ends, pa.py_buffer(separator)])
    return pc.binary_join_element_wise(texts.cast(pa.large_binary()), *empty_and_separator).buffers()[2]


def words(texts: pa.LargeStringArray) -> NDArray[np.int64]:
    """Words of each text: its runs of bytes other than ASCII's white space."""
    bounds = _offsets(texts)
    found = np.zeros(len(texts), dtype=np.int64)
    if not len(texts):
        return found
    for start in range(int(bounds[0]), int(bounds[-1]), BATCH_BYTES):  # a long text is no reason for long arrays
        stop = min(start + BATCH_BYTES, int(bounds[-1]))
        first = max(start - 1, int(bounds[0]))
        space = _SPACES[np.frombuffer(texts.buffers()[2], dtype=np.uint8)[first:stop]]
        begins = ~space
        begins[1:] &= space[:-1]
        inner = bounds[(bounds >= start) & (bounds < stop)] - first
        begins[inner] = ~space[inner]  # a document's first word, whatever the one before it ends with
        begins[: start - first] = False
        found += np.diff(np.searchsorted(np.flatnonzero(begins), bounds - first))
    return found


def sample(corpus: Path, documents: int = 20, places: int = 24) -> list[str]:
    """Beginnings of documents from all over the corpus: of the first ones of row groups at even distances."""
    groups = []
    for split in SPLITS:
        for path in shards(corpus, split):
            groups += [(path, number) for number in range(pq.read_metadata(path).num_row_groups)]
    texts: list[str] = []
    for path, number in groups[:: max(1, -(-len(groups) // places))]:
        with pq.ParquetFile(path, pre_buffer=False) as file:
            rows = file.iter_batches(documents, row_groups=[number], columns=["text"], use_threads=False)
            if first := next(rows, None):
                texts += [text[:_LONGEST_SAMPLE] for text in first["text"].to_pylist() if text]
    return texts


def array(texts: Sequence[str]) -> pa.LargeStringArray:
    """The texts as Arrow has them. (``pa.array`` imports pandas wherever it is: 35 MB, and some tenths of a second.)"""
    encoded = [text.encode() for text in texts]
    offsets = np.cumsum([0, *map(len, encoded)], dtype=np.int64)
    return pa.LargeStringArray.from_buffers(len(texts), pa.py_buffer(offsets), pa.py_buffer(b"".join(encoded)))


def _is_text(kind: pa.DataType) -> bool:
    if pa.types.is_dictionary(kind):
        kind = kind.value_type
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind))


def _text_size(group: pq.RowGroupMetaData) -> int:
    columns = (group.column(number) for number in range(group.num_columns))
    return next(column.total_uncompressed_size for column in columns if column.path_in_schema == "text")


def _offsets(texts: pa.LargeStringArray) -> NDArray[np.int64]:
    if not len(texts):
        return np.zeros(1, dtype=np.int64)
    return np.frombuffer(texts.buffers()[1], dtype=np.int64)[texts.offset : texts.offset + len(texts) + 1]
