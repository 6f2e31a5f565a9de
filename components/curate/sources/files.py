"""The user's own files under data/raw, as a stream: txt, md, html, jsonl, csv, parquet; plain, gzip or zstandard."""

from __future__ import annotations

import csv
import gzip
import io
import json
import sys
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path, PurePosixPath
from typing import IO

import pyarrow as pa
import pyarrow.parquet as pq
import zstandard

from components.curate.documents import Document
from components.curate.ledger import Ledger
from components.curate.markup import strip_html
from components.curate.parameters import FilesSource

RAW = "data/raw"
_FORMATS = {".txt": "text", ".text": "text", ".md": "text", ".markdown": "text", ".html": "html", ".htm": "html",
            ".jsonl": "jsonl", ".ndjson": "jsonl", ".csv": "csv", ".parquet": "parquet"}  # fmt: skip
_COMPRESSIONS = {".gz", ".zst"}
_SUPPORTED = "txt, md, html, jsonl, csv, parquet, and .gz or .zst of those"
_BATCH = 1024  # parquet rows read at a time
Row = tuple[str, object, object]
"""Where it is in the file, its text, its group (None where it has none)."""


def format_of(path: Path) -> str | None:
    """Format of a file by its name without a compression's suffix; ``None`` if it is not one of ours."""
    name = PurePosixPath(path.name.lower())
    return _FORMATS.get((PurePosixPath(name.stem) if name.suffix in _COMPRESSIONS else name).suffix)


def expand(source: FilesSource, workspace: Path) -> tuple[list[Path], list[str]]:
    """Files that the globs name, sorted and each once, and the problems with the globs."""
    found: set[Path] = set()
    wrong: list[str] = []
    for pattern in source.paths:
        parts = PurePosixPath(pattern).parts
        if parts[:2] != ("data", "raw") or ".." in parts:
            wrong.append(
                f"curate.sources: {pattern!r} is not under {RAW}/, where changes are tracked: copy or link the files "
                f"there and write {RAW}/..."
            )
            continue
        # Tools leave .gitignore and the like beside the data.
        matches = [
            path
            for path in workspace.glob(pattern)
            if path.is_file() and (not path.name.startswith(".") or path.name == parts[-1])
        ]
        if not matches:
            what = "no file matches" if any(sign in pattern for sign in "*?[") else "there is no file"
            wrong.append(f"curate.sources: {what} {pattern!r} (looked in {RAW}/): check the name, or add the file")
        for path in matches:
            if format_of(path) is None:
                wrong.append(f"{_name(path, workspace)}: unknown kind of file; supported are {_SUPPORTED}")
            else:
                found.add(path)
    return sorted(found), wrong


def units(source: FilesSource, workspace: Path) -> int:
    return len(expand(source, workspace)[0])


def problems(source: FilesSource, workspace: Path) -> list[str]:
    return expand(source, workspace)[1]


def read(source: FilesSource, workspace: Path, ledger: Ledger, advance: Callable[..., None]) -> Iterator[Document]:
    """Documents of every file, in order of path."""
    for path in expand(source, workspace)[0]:
        name, kind = _name(path, workspace), format_of(path)
        rows = {"text": _text, "html": _html, "jsonl": _jsonl, "csv": _csv, "parquet": _parquet}[kind]
        strip = source.markup == "html" or (source.markup == "auto" and kind == "html")
        try:
            for where, text, group in rows(path, name, source, ledger):
                if not isinstance(text, str):
                    problem = "is missing" if text is None else f"is {type(text).__name__}, not text"
                    excerpt = "" if text is None else str(text)
                    ledger.break_row(name, where, f"{source.text_column!r} {problem}", excerpt)
                    continue
                yield Document(
                    strip_html(text) if strip else text,
                    "files",
                    "file" if kind in ("text", "html") else "row",
                    name if group is None and kind in ("text", "html") else str(group if group is not None else where),
                    source.license,
                    where,
                )
                advance(0)
        except (OSError, EOFError, zlib.error, zstandard.ZstdError, pa.ArrowException) as error:
            ledger.problems.append(f"{name}: cannot be read to its end: {error}: replace or remove the file")
        except _Unusable as error:
            ledger.problems.append(str(error))
        advance()


class _Unusable(Exception):
    """The file as a whole does not fit the parameters."""


def _name(path: Path, workspace: Path) -> str:
    return _shown(path.relative_to(workspace).as_posix())


def _open(path: Path) -> IO[bytes]:
    if path.suffix.lower() == ".gz":
        return gzip.open(path, "rb")
    if path.suffix.lower() == ".zst":
        return io.BufferedReader(zstandard.ZstdDecompressor().stream_reader(open(path, "rb"), closefd=True))
    return open(path, "rb")


def _lines(file: IO[bytes]) -> Iterator[bytes]:
    for number, line in enumerate(file):
        yield line.removeprefix(b"\xef\xbb\xbf") if number == 0 else line


def _text(path: Path, name: str, source: FilesSource, ledger: Ledger) -> Iterator[Row]:
    """A whole file, or pieces cut at blank lines when it is longer than ``max_file_characters``."""
    piece: list[str] = []
    length, number = 0, 0

    def finish() -> Row:
        where = f"{name}#{number}" if number else name
        return where, "".join(piece), None if source.keep_files_together else where

    with _open(path) as file:
        for index, line in enumerate(_lines(file), 1):
            ledger.row(name)
            try:
                text = line.decode("utf-8")
            except UnicodeDecodeError as error:
                ledger.break_row(name, f"{name}, line {index}", f"is not UTF-8 ({error.reason})")
                continue
            full = length + len(text) > source.max_file_characters
            # Prefer a blank line; a text without any is cut between lines once it is twice too long.
            if piece and full and (not text.strip() or length > 2 * source.max_file_characters):
                number += 1
                yield finish()
                piece, length = [], 0
            piece.append(text)
            length += len(text)
    if piece:
        number += 1 if number else 0
        yield finish()


def _html(path: Path, name: str, source: FilesSource, ledger: Ledger) -> Iterator[Row]:
    ledger.row(name)
    with _open(path) as file:
        content = file.read()
    try:
        yield name, content.decode("utf-8-sig"), None
    except UnicodeDecodeError as error:
        ledger.break_row(name, name, f"is not UTF-8 ({error.reason}): save it as UTF-8")


def _jsonl(path: Path, name: str, source: FilesSource, ledger: Ledger) -> Iterator[Row]:
    with _open(path) as file:
        for index, line in enumerate(_lines(file), 1):
            if not line.strip():
                continue
            ledger.row(name)
            where = f"{name}, line {index}"
            try:
                row = json.loads(line)
            except (json.JSONDecodeError, UnicodeDecodeError, RecursionError) as error:
                ledger.break_row(name, where, f"is not JSON ({error})", line.decode("utf-8", "replace"))
                continue
            if not isinstance(row, dict):
                ledger.break_row(name, where, "is not a JSON object", line.decode("utf-8", "replace"))
                continue
            group = _group(row.get(source.group_column), source.group_column) if source.group_column else None
            yield f"{name}#{index}", row.get(source.text_column), group


def _csv(path: Path, name: str, source: FilesSource, ledger: Ledger) -> Iterator[Row]:
    csv.field_size_limit(sys.maxsize)
    with _open(path) as file:
        lines = (line.decode("utf-8", "surrogateescape") for line in _lines(file))
        reader = csv.reader(lines, strict=True)
        try:
            header = next(reader, [])
        except csv.Error as error:
            raise _Unusable(f"{name}: its header is not CSV ({error}): correct its first line") from error
        _require(name, header, source)
        text_at = header.index(source.text_column)
        group_at = header.index(source.group_column) if source.group_column else None
        while True:
            try:
                row = next(reader)
            except StopIteration:
                return
            except csv.Error as error:
                ledger.row(name)
                ledger.break_row(name, f"{name}, line {reader.line_num}", f"is not CSV ({error})")
                continue
            if not row:
                continue
            ledger.row(name)
            where = f"{name}, line {reader.line_num}"
            if len(row) != len(header):
                wrong = f"has {len(row)} fields, the header {len(header)}"
                ledger.break_row(name, where, wrong, _shown(",".join(row)))
                continue
            text = row[text_at]
            if any("\udc80" <= character <= "\udcff" for character in text):
                ledger.break_row(name, where, "is not UTF-8", _shown(text))
                continue
            group = None if group_at is None else _group(row[group_at], source.group_column)
            yield f"{name}#{reader.line_num}", text, group


def _parquet(path: Path, name: str, source: FilesSource, ledger: Ledger) -> Iterator[Row]:
    # Parquet is read from its end, so a compressed file is unpacked in memory.
    content = path if path.suffix.lower() == ".parquet" else pa.BufferReader(_open(path).read())
    with pq.ParquetFile(content) as file:
        _require(name, file.schema_arrow.names, source)
        columns = [source.text_column] + ([source.group_column] if source.group_column else [])
        number = 0
        for batch in file.iter_batches(batch_size=_BATCH, columns=columns):
            texts = batch.column(source.text_column).to_pylist()
            groups = batch.column(source.group_column).to_pylist() if source.group_column else [None] * len(texts)
            for text, group in zip(texts, groups, strict=True):
                number += 1
                ledger.row(name)
                yield f"{name}#{number}", text, _group(group, source.group_column) if source.group_column else None


def _shown(text: str) -> str:
    """Text for a message, with a question mark for each byte that is not UTF-8."""
    return text.encode("utf-8", "replace").decode()


def _group(value: object, column: str) -> str | None:
    """Group of a row, the same in all files; a row without a value stands on its own."""
    return None if value is None or value == "" else _shown(f"{column}={value}")


def _require(name: str, columns: list[str], source: FilesSource) -> None:
    missing = [column for column in (source.text_column, source.group_column) if column and column not in columns]
    if missing:
        raise _Unusable(
            f"{name}: has no column {' or '.join(map(repr, missing))}; it has "
            f"{', '.join(map(repr, columns)) or 'none'}: name one of them in curate.sources (text_column, group_column)"
        )
