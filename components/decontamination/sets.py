"""The sets of texts that a workspace makes: splits of the corpus, of the instructions, of the labels."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from components.decontamination.overlap import Batch, TextSet
from components.finetuning.records import texts

TRAINING = {"corpus": ("train",), "instructions": ("instruct", "reward", "preference"), "labels": ("train",)}
"""Splits that models learn from. Development and validation splits are for choosing, and are neither."""
EVALUATION = {"corpus": ("test",), "instructions": ("test",), "labels": ("test",)}

_ROWS = 1024
_CHARACTERS = 1_000_000  # of a batch, more or less: a hundred bytes of memory each
_OVERLAP = 2_000  # characters of two pieces of one text


def read(folder: Path, splits: Sequence[str]) -> list[TextSet]:
    """Splits of ``data/corpus``, ``data/instructions`` or ``data/labels``; those without a file are left out.

    A set is called ``<folder>/<split>``, such as ``corpus/train``.
    """
    return [TextSet(f"{folder.name}/{split}", _reader(folder, split)) for split in splits if _files(folder, split)]


def batches(documents: Iterable[tuple[str, Sequence[str]]]) -> Iterator[Batch]:
    """(name, texts) of documents, in batches of bounded size. A very long text is read in pieces that overlap."""
    names: list[str] = []
    found: list[str] = []
    owners: list[int] = []
    size = 0
    for name, said in documents:
        pieces = [piece for text in said for piece in _pieces(text)]
        owners += [len(names)] * len(pieces)
        names.append(name)
        found += pieces
        size += sum(map(len, pieces))
        if size >= _CHARACTERS or len(names) >= 10 * _ROWS:
            yield _batch(names, found, owners)
            names, found, owners, size = [], [], [], 0
    if names:
        yield _batch(names, found, owners)


def _batch(names: list[str], found: list[str], owners: list[int]) -> Batch:
    return Batch(pa.array(names, pa.string()), pa.array(found, pa.large_string()), np.asarray(owners, np.int64))


def _pieces(text: str) -> list[str]:
    if len(text) <= _CHARACTERS:
        return [text]
    return [text[start : start + _CHARACTERS + _OVERLAP] for start in range(0, len(text), _CHARACTERS)]


def _files(folder: Path, split: str) -> list[Path]:
    return sorted(
        [*folder.glob(f"{split}-*.parquet"), *folder.glob(f"{split}.parquet"), *folder.glob(f"{split}.jsonl")]
    )


def _reader(folder: Path, split: str) -> Callable[[], Iterator[Batch]]:
    def read_batches() -> Iterator[Batch]:
        for path in _files(folder, split):
            yield from batches(_rows(path)) if path.suffix == ".jsonl" else _table(path)

    return read_batches


def _rows(path: Path) -> Iterator[tuple[str, list[str]]]:
    """Rows of instructions, each with all its texts, the same one once."""
    with open(path, encoding="utf-8") as file:
        for number, line in enumerate(file, 1):
            if line.strip():
                yield f"{path.name}, row {number}", list(dict.fromkeys(texts(json.loads(line))))


def _table(path: Path) -> Iterator[Batch]:
    with pq.ParquetFile(path) as file:
        named = "origin" in file.schema_arrow.names
        start = 1
        for batch in file.iter_batches(_ROWS, columns=["text", "origin"] if named else ["text"]):
            found = batch.column("text")
            numbers = [f"{path.name}, row {start + place}" for place in range(len(found))] if not named else None
            names = batch.column("origin") if named else pa.array(numbers, pa.string())
            if batch.nbytes <= 4 * _CHARACTERS:
                yield Batch(names, found, np.arange(len(found)))
            else:
                yield from batches(zip(names.to_pylist(), ([text] for text in found.to_pylist()), strict=True))
            start += len(found)
