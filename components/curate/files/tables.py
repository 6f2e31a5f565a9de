"""Rows of the user's tables: jsonl, json, csv, tsv and parquet, for a corpus, instructions and labels alike.

Text is UTF-8, or another encoding that :mod:`components.curate.files.text_files` makes UTF-8 of.
"""

from __future__ import annotations

import csv
import json
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from components.curate.files.text_files import DAMAGE, Noted, damaged, text_lines, whole
from components.curate.files.user_files import UserFile, shown
from core import bounded
from core.errors import InputProblem

_SAMPLE = 100  # rows by which the columns of a file are known
_BATCH = 1024  # parquet rows read at a time
_SHOWN = 3


@dataclass(frozen=True)
class Row:
    """One row of a table.

    Attributes:
        number: of its last line (jsonl, csv, tsv), or of the row itself, from 1.
        where: the same in words, for messages.
        columns: its values by column; ``None`` for a row that cannot be read.
        error: why it cannot be read.
        excerpt: what stands there instead.
    """

    number: int
    where: str
    columns: dict[str, Any] | None
    error: str = ""
    excerpt: str = ""


def rows(file: UserFile, columns: Sequence[str] | None = None, note: Noted | None = None) -> Iterator[Row]:
    """Every row of a table, broken ones too.

    Args:
        columns: those that the caller reads, as far as the file has them; ``None``: all.
        note: called with the file's encoding where that is not UTF-8.

    Raises:
        InputProblem: the file as a whole cannot be read.
    """
    return _READERS[file.format](file, columns, note)


def sample(file: UserFile) -> list[dict[str, Any]]:
    """The first rows that can be read, at most 100. Raises InputProblem."""
    return [row.columns for row in islice(rows(file), _SAMPLE) if row.columns is not None]


def columns_of(file: UserFile, first: Iterable[Mapping[str, Any]]) -> list[str]:
    """Columns of a table: those of its header, or of its ``first`` rows."""
    if file.format == "parquet":
        with _parquet_file(file) as opened:
            return list(opened.schema_arrow.names)
    if file.format in DELIMITERS:
        return _header(file, CsvLines(file), DELIMITERS[file.format])[1]
    return list(dict.fromkeys(name for row in first for name in row))


def require(file: UserFile, present: Sequence[str], wanted: Iterable[str], parameters: str) -> None:
    """Raise InputProblem if ``wanted`` columns are not among those ``present``; ``parameters`` name them."""
    missing = [name for name in wanted if name not in present]
    if not missing:
        return
    advice = f"name one of them in {parameters}"
    if len(present) == 1 and (sign := next((sign for sign in ";\t|" if sign in present[0]), None)):
        advice = f"its columns are separated by {sign!r}: save it with commas"
    raise InputProblem(
        f"{file.name}: has no column {' or '.join(map(repr, missing))}; it has "
        f"{', '.join(map(repr, present)) or 'none'}: {advice}"
    )


def data_among(columns: Iterable[str], first: Sequence[Mapping[str, Any]]) -> list[str]:
    """Those of ``columns`` that look like data in the ``first`` rows (text of several words, lists, objects)."""
    found = []
    for name in columns:
        values = [row[name] for row in first if row.get(name) not in (None, "", [], {})]
        if values and sum(map(_is_data, values)) > len(values) / 2:
            found.append(name)
    return found


def unused_warnings(unused: Mapping[str, Sequence[str]]) -> list[str]:
    """Warnings of columns that look like data and are not read, given by file; files that agree share one."""
    files: dict[tuple[str, ...], list[str]] = {}
    for name, columns in unused.items():
        files.setdefault(tuple(columns), []).append(name)
    warnings = []
    for columns, names in files.items():
        if columns:
            more = f" and {len(names) - _SHOWN} more files" if len(names) > _SHOWN else ""
            what = "column" if len(columns) == 1 else "columns"
            listed = ", ".join(map(repr, columns))
            warnings.append(f"{', '.join(names[:_SHOWN])}{more}: not used, though it looks like data: {what} {listed}")
    return warnings


def text(columns: Mapping[str, Any], name: str) -> str:
    """A column that must hold text. Raises ValueError that says what it holds instead."""
    value = columns.get(name)
    if not isinstance(value, str):
        raise ValueError(f"{name!r} must be text, not {'missing' if value is None else type(value).__name__}")
    if not value.strip():
        raise ValueError(f"{name!r} is empty")
    try:
        value.encode()
    except UnicodeEncodeError:  # half a surrogate pair, or bytes that are not UTF-8
        raise ValueError(f"{name!r} is not valid Unicode text") from None
    return value


def _is_data(value: object) -> bool:
    return len(value.split()) > 2 if isinstance(value, str) else isinstance(value, list | dict)


def _jsonl(file: UserFile, columns: Sequence[str] | None, note: Noted | None) -> Iterator[Row]:
    for number, line in enumerate(text_lines(file, note), file.first):
        if not line.strip():
            continue
        try:
            value = json.loads(line.decode())
        except UnicodeDecodeError as error:
            yield _broken(number, "line", f"is not UTF-8 ({error.reason})", line.decode("utf-8", "replace"))
        except RecursionError:
            yield _broken(number, "line", f"is nested deeper than {bounded.DEEPEST} levels")
        except ValueError as error:
            yield _broken(number, "line", f"is not JSON ({error})", line.decode("utf-8", "replace"))
        else:
            yield _object(number, "line", value)


def _json(file: UserFile, columns: Sequence[str] | None, note: Noted | None) -> Iterator[Row]:
    content = whole(file, note)
    try:
        values = json.loads(content.decode())
    except RecursionError:
        values = ValueError(f"nested deeper than {bounded.DEEPEST} levels")
    except ValueError as error:
        values = error
    if not isinstance(values, list):
        why = f" ({values})" if isinstance(values, Exception) else ""
        raise InputProblem(
            f"{file.name}: is not one JSON list of objects{why}: correct it; if it has an object a line, name it .jsonl"
        )
    for number, value in enumerate(values, 1):
        yield _object(number, "item", value)


def _object(number: int, unit: str, value: object) -> Row:
    if bounded.deeper(value):
        return _broken(number, unit, f"is nested deeper than {bounded.DEEPEST} levels")
    if isinstance(value, dict):
        return Row(number, f"{unit} {number}", value)
    return _broken(number, unit, "is not a JSON object", str(value))


def _broken(number: int, unit: str, error: str, excerpt: str = "") -> Row:
    return Row(number, f"{unit} {number}", None, error, shown(excerpt))


DELIMITERS = {"csv": ",", "tsv": "\t"}


class CsvLines:
    """Lines for Python's csv reader that remembers those of the present record.

    Bytes that are not UTF-8 become lone surrogates, so that they break their own row and not the file.

    Attributes:
        record: the lines.
        given: bytes of UTF-8 of all lines so far.
        foreign: a line was not UTF-8.
    """

    def __init__(self, file: UserFile, note: Noted | None = None):
        self._lines = text_lines(file, note)
        self._file, self._size = file, 0
        self.record: list[str] = []
        self.given, self.foreign = 0, False

    def begin(self) -> None:
        """A new record begins with the next line."""
        self.record.clear()
        self._size = 0

    def __iter__(self) -> Iterator[str]:
        return self

    def __next__(self) -> str:
        read = next(self._lines)
        self.given += len(read)
        try:
            line = read.decode()
        except UnicodeDecodeError:
            line, self.foreign = read.decode("utf-8", "surrogateescape"), True
        self.record.append(line)
        self._size += len(line)
        if self._size > bounded.LONGEST_LINE:
            raise InputProblem(
                f"{self._file.name}: a row is longer than {bounded.LONGEST_LINE >> 20} MiB; it begins: "
                f"{shown(self.record[0][:60])!r}"
            )
        return line


def csv_reader(lines: CsvLines, delimiter: str) -> Any:
    """Python's reader of the lines' records."""
    csv.field_size_limit(sys.maxsize)  # Python's 128 KiB are less than a long document
    return csv.reader(lines, delimiter=delimiter, strict=True)


def _header(file: UserFile, lines: CsvLines, delimiter: str) -> tuple[Any, list[str]]:
    """The reader behind the header, and the names in it."""
    reader = csv_reader(lines, delimiter)
    try:
        header: list[str] = next(reader, [])
    except csv.Error as error:
        raise InputProblem(f"{file.name}: its header is not CSV ({error}): correct its first line") from error
    if repeated := sorted({name for name in header if header.count(name) > 1}):
        raise InputProblem(f"{file.name}: its header has two columns {shown(repeated[0])!r}: rename one")
    return reader, [shown(name) for name in header]


def _csv(file: UserFile, columns: Sequence[str] | None, note: Noted | None) -> Iterator[Row]:
    lines, delimiter = CsvLines(file, note), DELIMITERS[file.format]
    if file.start:
        header = columns_of(replace(file, start=0, stop=None, first=1), ())
        reader = csv_reader(lines, delimiter)
    else:
        reader, header = _header(file, lines, delimiter)
    before = file.first - 1  # lines of other pieces
    while True:
        first = before + reader.line_num + 1
        lines.begin()
        try:
            values = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            if len(lines.record) > 1 or "end of data" in str(error):
                # The rows that the quotation has swallowed would be counted as one.
                opened = first + _opening(lines.record, delimiter)
                raise InputProblem(
                    f"{file.name}: a quotation mark in line {opened} opens a text that has no proper end (seen in line "
                    f"{before + reader.line_num}), so the rows after it cannot be separated: close it, remove it, or "
                    "double it"
                ) from error
            yield _broken(before + reader.line_num, "line", f"is not CSV ({error})", "".join(lines.record))
            continue
        if not values:
            continue
        if len(values) != len(header):
            wrong = f"has {len(values)} fields, the header {len(header)}"
            yield _broken(before + reader.line_num, "line", wrong, delimiter.join(values))
            continue
        row = dict(zip(header, values, strict=True))
        bad = next((name for name in columns or header if not _is_unicode(row.get(name, ""))), None)
        if bad is not None:
            yield _broken(before + reader.line_num, "line", f"{bad!r} is not UTF-8", row[bad])
        else:
            number = before + reader.line_num
            yield Row(number, f"line {number}", row)


def _opening(lines: Sequence[str], delimiter: str) -> int:
    """In which of a record's lines, from 0, the quotation opens that is open at its end (or opened last)."""
    inside, fresh, opened = False, True, 0
    for number, line in enumerate(lines):
        quotes = 0  # quotation marks in a row, within a quotation
        for sign in line:
            if inside and sign == '"':
                quotes += 1
                continue
            if inside and quotes % 2:
                inside = False
            quotes = 0
            if not inside and fresh and sign == '"':
                inside, opened = True, number
            fresh = not inside and sign == delimiter
    return opened


def _is_unicode(text: str) -> bool:
    return text.isascii() or not any("\udc80" <= sign <= "\udcff" for sign in text)


def _parquet_file(file: UserFile) -> pq.ParquetFile:
    # Parquet is read from its end, so a compressed file is unpacked in memory.
    try:
        if file.content is None and file.path.suffix.lower() == ".parquet":
            return _within_bounds(file, pq.ParquetFile(file.path))
        with file.opened() as opened:
            return _within_bounds(file, pq.ParquetFile(pa.BufferReader(bounded.whole(opened))))
    except (*DAMAGE, UnicodeDecodeError) as error:  # names of columns may be damaged
        raise InputProblem(damaged(file, error)) from error


def _within_bounds(file: UserFile, opened: pq.ParquetFile) -> pq.ParquetFile:
    try:
        bounded.require_small_pages(opened, file.path if file.content is None else file.content)
    except bounded.OutOfBounds:
        opened.close()
        raise
    return opened


def _parquet(file: UserFile, columns: Sequence[str] | None, note: Noted | None) -> Iterator[Row]:
    number = file.first - 1
    with _parquet_file(file) as opened:
        present = set(opened.schema_arrow.names)
        wanted = None if columns is None else [name for name in columns if name in present]
        groups = None if file.stop is None else range(file.start, file.stop)
        try:
            for batch in opened.iter_batches(batch_size=_BATCH, row_groups=groups, columns=wanted):
                for values in batch.to_pylist():
                    number += 1
                    yield Row(number, f"row {number}", values)
        except (*DAMAGE, ValueError, OverflowError) as error:  # values that Python has not, such as the year 292277
            raise InputProblem(damaged(file, error)) from error


_READERS: dict[str, Callable[[UserFile, Sequence[str] | None, Noted | None], Iterator[Row]]] = {
    "jsonl": _jsonl,
    "json": _json,
    "csv": _csv,
    "tsv": _csv,
    "parquet": _parquet,
}
