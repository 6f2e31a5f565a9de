"""The user's own files as documents: each row of a table, each text file (or its pieces), each HTML page."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from components.curate.documents import Document
from components.curate.files import encodings, pdf, remote, source_code
from components.curate.files.archives import members
from components.curate.files.markup import text_of
from components.curate.files.parts import SourcePart, packed, size_of
from components.curate.files.tables import columns_of, data_among, require, rows, sample
from components.curate.files.text_files import content, text_lines
from components.curate.files.user_files import DOCUMENTS, UserFile, find, is_url, shown, suffix_of
from components.curate.files.web_archives import pages
from components.curate.ledger import Ledger
from components.curate.parameters import FilesSource
from core.errors import InputProblem

COLUMNS = "curate.sources (text_column, group_column)"


@dataclass(frozen=True)
class Piece:
    """A text of a file.

    Attributes:
        where: place, unique among all files.
        group: what it shares with its siblings; ``None``: it has none.
        kind: of document.
        html: it has markup.
        license: where it names one itself.
    """

    where: str
    text: str
    group: str | None
    kind: str = "file"
    html: bool = False
    license: str | None = None


def size(source: FilesSource, workspace: Path) -> int:
    return sum(map(size_of, _files(source, workspace)))


def parts(source: FilesSource, workspace: Path) -> Iterator[SourcePart]:
    """The files in order of path, those at URLs last, the small ones together, the large ones in pieces."""
    return packed(_files(source, workspace))


def read(source: FilesSource, part: SourcePart, workspace: Path, ledger: Ledger) -> Iterator[Document]:
    """Documents of the part's files, in order."""
    for file in part.files:
        try:
            yield from _archived(file, source, ledger) if file.format == "archive" else _documents(file, source, ledger)
        except InputProblem as problem:
            ledger.problems += problem.problems


def _archived(file: UserFile, source: FilesSource, ledger: Ledger) -> Iterator[Document]:
    """Documents of an archive's members; one that cannot be read is a row that cannot be used."""
    for member in members(file, ledger):
        try:
            yield from _documents(member, source, ledger)
        except InputProblem as problem:
            if member.allowance is not None and member.allowance.left < 0:
                raise  # the archive unpacks to too much
            name = member.name.removeprefix(f"{file.name}/")
            said = (each.removeprefix(f"{member.name}: ") for each in problem.problems)
            ledger.break_row(file.name, name, "; ".join(said))


def _documents(file: UserFile, source: FilesSource, ledger: Ledger) -> Iterator[Document]:
    for piece in _PIECES.get(file.format, _table)(file, source, ledger):
        text = piece.text
        if source.markup == "html" or (source.markup == "auto" and piece.html):
            try:
                text = text_of(text, source.extractor)
            except ValueError as error:
                ledger.break_row(file.counted, piece.where, f"the page {error}")
                continue
        group = piece.where if piece.group is None else piece.group
        yield Document(text, source.name, piece.kind, group, piece.license or source.license, piece.where)


def _files(source: FilesSource, workspace: Path) -> list[UserFile]:
    local = [pattern for pattern in source.paths if not is_url(pattern)]
    return [*find(local, "curate.sources", workspace, DOCUMENTS)[0], *remote.find(source.paths, "curate.sources")[0]]


def _noted(file: UserFile, ledger: Ledger) -> Callable[[str], None]:
    return lambda encoding: ledger.encoding(file.name, encoding)


def _table(file: UserFile, source: FilesSource, ledger: Ledger) -> Iterator[Piece]:
    wanted = [source.text_column, *([source.group_column] if source.group_column else [])]
    if not file.start:  # what its first piece shows of a file holds for all
        first = sample(file)
        present = columns_of(file, first)
        if present or file.format not in ("jsonl", "json"):
            # An object may lack its group, which a header names for all rows.
            require(file, present, wanted[:1] if file.format in ("jsonl", "json") else wanted, COLUMNS)
        if unused := data_among([name for name in present if name not in wanted], first):
            ledger.unused[file.name] = unused
    for row in rows(file, wanted, _noted(file, ledger)):
        ledger.row(file.counted)
        if row.columns is None:
            ledger.break_row(file.counted, file.place(row.where), row.error, row.excerpt)
            continue
        text = row.columns.get(source.text_column)
        if not isinstance(text, str):
            problem = "is missing" if text is None else f"is {type(text).__name__}, not text"
            excerpt = "" if text is None else str(text)
            ledger.break_row(file.counted, file.place(row.where), f"{source.text_column!r} {problem}", excerpt)
            continue
        group = row.columns.get(source.group_column) if source.group_column else None
        # A group is the same in all files; a row without one stands on its own.
        named = None if group in (None, "") else shown(f"{source.group_column}={group}")
        yield Piece(f"{file.name}#{row.number}", text, named, "row")


def _text(file: UserFile, source: FilesSource, ledger: Ledger) -> Iterator[Piece]:
    return _divided(_lines(file, ledger), file, source, source_code.kind_of(suffix_of(file.path)))


def _lines(file: UserFile, ledger: Ledger) -> Iterator[str]:
    for index, line in enumerate(text_lines(file, _noted(file, ledger)), 1):
        ledger.row(file.counted)
        try:
            yield line.decode()
        except UnicodeDecodeError as error:
            ledger.break_row(file.counted, file.place(f"line {index}"), f"is not UTF-8 ({error.reason})")


def _divided(lines: Iterable[str], file: UserFile, source: FilesSource, kind: str | None = None) -> Iterator[Piece]:
    """A whole file, or pieces cut at blank lines when it is longer than ``max_file_characters``."""
    piece: list[str] = []
    length, number = 0, 0
    license = None

    def finish() -> Piece:
        nonlocal license
        where, text = f"{file.name}#{number}" if number else file.name, "".join(piece)
        if kind and number <= 1:
            license = source_code.license_of(text)
        return Piece(where, text, file.name if source.keep_files_together else None, kind or "file", license=license)

    for text in lines:
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


def _pdf(file: UserFile, source: FilesSource, ledger: Ledger) -> Iterator[Piece]:
    counted = file.counted if file.archive else pdf.FILES  # one of many that has no text is no reason to stop
    ledger.row(counted)
    try:
        found = pdf.read(content(file))
    except ValueError as error:
        ledger.break_row(counted, file.name, str(error))
        return
    if found.without:
        ledger.skip("PDF pages: without text", found.without)
    yield from _divided(found.text.splitlines(keepends=True), file, source)


def _html(file: UserFile, source: FilesSource, ledger: Ledger) -> Iterator[Piece]:
    ledger.row(file.counted)
    text, encoding = encodings.decode(content(file))
    if "\0" in text:
        ledger.break_row(file.counted, file.place("page"), "holds NUL bytes, as binary files do")
        return
    if encoding not in (encodings.UTF_8, "utf-8-sig"):
        ledger.encoding(file.name, encoding)
    yield Piece(file.name, text, file.name, html=True)


def _web_archive(file: UserFile, source: FilesSource, ledger: Ledger) -> Iterator[Piece]:
    for page in pages(file, ledger):
        yield Piece(page.where, page.text, None, "page", page.html)


_PIECES: dict[str, Callable[[UserFile, FilesSource, Ledger], Iterator[Piece]]] = {
    "text": _text,
    "code": _text,
    "html": _html,
    "pdf": _pdf,
    "warc": _web_archive,
}
