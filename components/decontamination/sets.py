"""The sets of texts that a workspace makes: splits of the corpus, of the instructions, of the labels."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from components.decontamination.texts import TextBatch, TextSet

TRAINING = {"corpus": ("train",), "instructions": ("instruct", "reward", "preference"), "labels": ("train",)}
"""Splits that models learn from. Development and validation splits are for choosing, and are neither."""
EVALUATION = {"corpus": ("test",), "instructions": ("test",), "labels": ("test",)}

_ROWS = 1024
_CHARACTERS = 500_000  # of a batch, more or less: a hundred bytes of memory each
_OVERLAP = 2_000  # characters of two pieces of one text


def read(name: str, folder: Path, splits: Sequence[str]) -> list[TextSet]:
    """Splits of the ``corpus``, the ``instructions`` or the ``labels``; those without a file are left out.

    A set is called ``<name>/<split>``, such as ``corpus/train``: the folder of an unfinished output has another name.
    """
    return read_files(name, {path.name: path for path in folder.iterdir()}, splits)


def read_files(name: str, files: Mapping[str, Path], splits: Sequence[str]) -> list[TextSet]:
    """As :func:`read`, of the folder ``name`` whose files lie elsewhere, by their names in it."""
    found = []
    for split in splits:
        own = {file: files[file] for file in sorted(files) if _belongs(file, split)}
        if own:
            found.append(TextSet(f"{name}/{split}", _reader(own)))
    return found


def batches(documents: Iterable[tuple[str, Sequence[str]]]) -> Iterator[TextBatch]:
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


def _batch(names: list[str], found: list[str], owners: list[int]) -> TextBatch:
    return TextBatch(pa.array(names, pa.string()), pa.array(found, pa.large_string()), np.asarray(owners, np.int64))


def _pieces(text: str) -> list[str]:
    if len(text) <= _CHARACTERS:
        return [text]
    return [text[start : start + _CHARACTERS + _OVERLAP] for start in range(0, len(text), _CHARACTERS)]


def strings(value: Any) -> Iterator[str]:
    """Every text in a row, at any depth."""
    if isinstance(value, str):
        yield value.encode("utf-8", "replace").decode()
    elif isinstance(value, Mapping):
        for part in value.values():
            yield from strings(part)
    elif isinstance(value, list):
        for part in value:
            yield from strings(part)


def _belongs(file: str, split: str) -> bool:
    return file in (f"{split}.parquet", f"{split}.jsonl") or fnmatchcase(file, f"{split}-*.parquet")


def _reader(files: Mapping[str, Path]) -> Callable[[], Iterator[TextBatch]]:
    def read_batches() -> Iterator[TextBatch]:
        for name, path in files.items():
            yield from batches(_rows(name, path)) if name.endswith(".jsonl") else _table(name, path)

    return read_batches


def _rows(name: str, path: Path) -> Iterator[tuple[str, list[str]]]:
    """Rows of instructions, each with all its texts, the same one once."""
    with open(path, encoding="utf-8") as file:
        for number, line in enumerate(file, 1):
            if line.strip():
                yield f"{name}, row {number}", list(dict.fromkeys(_said(json.loads(line))))


def _said(row: dict[str, Any]) -> Iterator[str]:
    """What a row of instructions says: its turns, its question, its answers."""
    yield from (message["content"] for message in row.get("messages") or ())
    yield from filter(None, (row.get(key) for key in ("prompt", "completion", "chosen", "rejected")))
    yield from row.get("ranked") or ()


def _table(name: str, path: Path) -> Iterator[TextBatch]:
    with pq.ParquetFile(path) as file:
        named = "origin" in file.schema_arrow.names
        start = 1
        for batch in file.iter_batches(_ROWS, columns=["text", "origin"] if named else ["text"]):
            found = batch.column("text")
            numbers = [f"{name}, row {start + place}" for place in range(len(found))] if not named else None
            names = batch.column("origin") if named else pa.array(numbers, pa.string())
            if batch.nbytes <= 4 * _CHARACTERS:
                yield TextBatch(names, found, np.arange(len(found)))
            else:
                yield from batches(zip(names.to_pylist(), ([text] for text in found.to_pylist()), strict=True))
            start += len(found)
