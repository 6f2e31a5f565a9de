"""The user's own files as documents: each row of a table, each text file (or its pieces), each HTML page."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from components.curate import remote
from components.curate.cleaning import strip_html
from components.curate.documents import Document
from components.curate.ledger import Ledger
from components.curate.parameters import FilesSource
from components.curate.parts import SourcePart, packed, size_of
from components.curate.tables import columns_of, data_among, require, rows, sample, text_lines, whole
from components.curate.user_files import DOCUMENTS, TABLES, UserFile, find, is_url, shown
from core.errors import InputProblem

_COLUMNS = "curate.sources (text_column, group_column)"
Piece = tuple[str, str, str | None]
"""Where it is in the file, its text, its group (None where it has none)."""


def size(source: FilesSource, workspace: Path) -> int:
    return sum(map(size_of, _files(source, workspace)))


def parts(source: FilesSource, workspace: Path) -> Iterator[SourcePart]:
    """The files in order of path, those at URLs last, the small ones together, the large ones in pieces."""
    return packed(_files(source, workspace))


def read(source: FilesSource, part: SourcePart, workspace: Path, ledger: Ledger) -> Iterator[Document]:
    """Documents of the part's files, in order."""
    for file in part.files:
        is_table = file.format in TABLES.values()
        strip = source.markup == "html" or (source.markup == "auto" and file.format == "html")
        pieces = {"text": _text, "html": _html}.get(file.format, _table)
        try:
            for where, text, group in pieces(file, source, ledger):
                whole = where if is_table else file.name
                yield Document(
                    strip_html(text) if strip else text,
                    source.name,
                    "row" if is_table else "file",
                    whole if group is None else group,
                    source.license,
                    where,
                )
        except InputProblem as problem:
            ledger.problems += problem.problems


def _files(source: FilesSource, workspace: Path) -> list[UserFile]:
    local = [pattern for pattern in source.paths if not is_url(pattern)]
    return [*find(local, "curate.sources", workspace, DOCUMENTS)[0], *remote.find(source.paths, "curate.sources")[0]]


def _table(file: UserFile, source: FilesSource, ledger: Ledger) -> Iterator[Piece]:
    wanted = [source.text_column, *([source.group_column] if source.group_column else [])]
    if not file.start:  # what its first piece shows of a file holds for all
        first = sample(file)
        present = columns_of(file, first)
        if present or file.format not in ("jsonl", "json"):
            # An object may lack its group, which a header names for all rows.
            require(file, present, wanted[:1] if file.format in ("jsonl", "json") else wanted, _COLUMNS)
        ledger.unused[file.name] = data_among([name for name in present if name not in wanted], first)
    for row in rows(file, wanted):
        ledger.row(file.name)
        if row.columns is None:
            ledger.break_row(file.name, row.where, row.error, row.excerpt)
            continue
        text = row.columns.get(source.text_column)
        if not isinstance(text, str):
            problem = "is missing" if text is None else f"is {type(text).__name__}, not text"
            excerpt = "" if text is None else str(text)
            ledger.break_row(file.name, row.where, f"{source.text_column!r} {problem}", excerpt)
            continue
        group = row.columns.get(source.group_column) if source.group_column else None
        # A group is the same in all files; a row without one stands on its own.
        named = None if group in (None, "") else shown(f"{source.group_column}={group}")
        yield f"{file.name}#{row.number}", text, named


def _text(file: UserFile, source: FilesSource, ledger: Ledger) -> Iterator[Piece]:
    """A whole file, or pieces cut at blank lines when it is longer than ``max_file_characters``."""
    piece: list[str] = []
    length, number = 0, 0

    def finish() -> Piece:
        where = f"{file.name}#{number}" if number else file.name
        return where, "".join(piece), None if source.keep_files_together else where

    for index, line in enumerate(text_lines(file), 1):
        ledger.row(file.name)
        try:
            text = line.decode()
        except UnicodeDecodeError as error:
            ledger.break_row(file.name, f"line {index}", f"is not UTF-8 ({error.reason})")
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


def _html(file: UserFile, source: FilesSource, ledger: Ledger) -> Iterator[Piece]:
    ledger.row(file.name)
    try:
        yield file.name, whole(file).decode(), None
    except UnicodeDecodeError as error:
        ledger.break_row(file.name, "page", f"is not UTF-8 ({error.reason}): save it as UTF-8")
