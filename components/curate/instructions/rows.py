"""Rows of the user's tables (jsonl, json, csv, parquet): instruction, preference and label files alike."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

from core.errors import InputProblem

RAW = "data/raw"
SUPPORTED = "jsonl, json (one list), csv or parquet"
_EXAMPLES = 3


@dataclass(frozen=True)
class Table:
    """A user's file: its name as the user knows it (relative to the workspace), and its path."""

    name: str
    path: Path


@dataclass(frozen=True)
class Row:
    """One row: where it is in its file, and its columns or what is broken about it."""

    where: str
    columns: dict[str, Any] | None
    error: str | None = None


@dataclass
class Broken:
    """What could not be used of one file: counted, sampled, and held against the tolerated share."""

    file: str
    rows: int = 0
    broken: int = 0
    examples: list[str] = field(default_factory=list)

    def add(self, where: str, error: str) -> None:
        self.broken += 1
        if len(self.examples) < _EXAMPLES:
            self.examples.append(f"{where}: {error}")

    def problem(self, max_share: float) -> str | None:
        """The message if too much of the file is broken."""
        if self.rows == 0:
            return f"{self.file}: no rows: add some, or leave the file out"
        if self.broken <= max_share * self.rows:
            return None
        return (
            f"{self.file}: {self.broken} of {self.rows} rows cannot be used, more than max_broken_share "
            f"({max_share:g}) tolerates: repair them or raise it. First ones: {'; '.join(self.examples)}"
        )

    def report(self) -> dict:
        return {"rows": self.rows, "broken": self.broken, "examples": self.examples}


def find(patterns: Iterable[str], parameter: str, workspace: Path, problems: list[str]) -> list[Table]:
    """Files that the globs name, relative to the workspace, sorted, each once; what is wrong joins ``problems``."""
    found: dict[str, Table] = {}
    for pattern in patterns:
        parts = PurePosixPath(pattern).parts
        if parts[:2] != ("data", "raw") or ".." in parts:
            problems.append(
                f"{parameter}: {pattern!r} is not under {RAW}/, where changes are tracked: copy or link the files "
                f"there and write {RAW}/..."
            )
            continue
        matches = [path for path in workspace.glob(pattern) if path.is_file()]
        if not matches:
            problems.append(f"{parameter}: no file matches {pattern!r}: check the name, or add the file")
        for path in sorted(matches):
            name = path.relative_to(workspace).as_posix()
            if path.suffix.lower() in _READERS:
                found[name] = Table(name, path)
            else:
                problems.append(f"{name}: unknown kind of file; supported are {SUPPORTED}")
    return [found[name] for name in sorted(found)]


def read(table: Table) -> Iterator[Row]:
    """Every row of a file, broken ones too. Raises InputProblem if the file as a whole cannot be read."""
    suffix = table.path.suffix.lower()
    try:
        yield from _READERS[suffix](table.path)
    except (OSError, ValueError, RecursionError, csv.Error) as error:  # pyarrow's errors are ValueErrors and OSErrors
        raise InputProblem(f"{table.name}: cannot be read as {suffix[1:]}: {error}") from error


def parse(
    table: Table, convert: Callable[[dict[str, Any]], dict], max_broken_share: float, problems: list[str]
) -> tuple[list[dict], Broken]:
    """Rows that ``convert`` accepts; it raises ValueError with the reason for one that it does not."""
    broken, good = Broken(table.name), []
    try:
        for row in read(table):
            broken.rows += 1
            try:
                if row.columns is None:
                    raise ValueError(row.error)
                good.append(convert(row.columns))
            except ValueError as error:
                broken.add(row.where, str(error))
    except InputProblem as problem:
        problems += problem.problems
        return good, broken
    message = broken.problem(max_broken_share)
    if message:
        problems.append(message)
    return good, broken


def text(columns: dict[str, Any], name: str) -> str:
    """A column that must hold text. Raises ValueError saying what it holds instead."""
    value = columns.get(name)
    if not isinstance(value, str):
        raise ValueError(f"{name!r} must be text, not {'missing' if value is None else type(value).__name__}")
    if not value.strip():
        raise ValueError(f"{name!r} is empty")
    try:
        value.encode()
    except UnicodeEncodeError:  # half a surrogate pair, or bytes that are no UTF-8
        raise ValueError(f"{name!r} is not valid Unicode text") from None
    return value


def _jsonl(path: Path) -> Iterator[Row]:
    with open(path, "rb") as file:
        for number, line in enumerate(file, start=1):
            if not line.strip():
                continue
            try:
                value = json.loads(line.removeprefix(b"\xef\xbb\xbf"))
            except (ValueError, RecursionError) as error:
                yield Row(f"line {number}", None, f"not JSON: {error}")
            else:
                yield _object(f"line {number}", value)


def _json(path: Path) -> Iterator[Row]:
    values = json.loads(path.read_bytes().removeprefix(b"\xef\xbb\xbf"))
    if not isinstance(values, list):
        raise ValueError("expected one list of objects; for an object a line, name the file .jsonl")
    for number, value in enumerate(values, start=1):
        yield _object(f"item {number}", value)


def _object(where: str, value: object) -> Row:
    if isinstance(value, dict):
        return Row(where, value)
    return Row(where, None, f"expected an object with named fields, not {type(value).__name__}")


def _csv(path: Path) -> Iterator[Row]:
    csv.field_size_limit(2**31 - 1)  # Python's 128 KiB is less than a long document
    # Bytes that are no UTF-8 become lone surrogates, so that they break their own row and not the file.
    with open(path, encoding="utf-8-sig", errors="surrogateescape", newline="") as file:
        reader = csv.DictReader(file)
        for row in reader:
            where = f"line {reader.line_num}"
            if None in row or None in row.values():
                yield Row(where, None, f"expected {len(reader.fieldnames or ())} columns, as in the header")
            else:
                yield Row(where, row)


def _parquet(path: Path) -> Iterator[Row]:
    import pyarrow.parquet as pq

    number = 0
    with pq.ParquetFile(path) as file:
        for batch in file.iter_batches(batch_size=1024):
            for columns in batch.to_pylist():
                number += 1
                yield Row(f"row {number}", columns)


_READERS: dict[str, Callable[[Path], Iterator[Row]]] = {
    ".jsonl": _jsonl,
    ".ndjson": _jsonl,
    ".json": _json,
    ".csv": _csv,
    ".parquet": _parquet,
}
