"""What curation works on at a time: a bounded part of a source, named by what it is."""

from __future__ import annotations

import hashlib
import json
import os
import zlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

import pyarrow as pa
import pyarrow.parquet as pq

from components.curate.files import archives, encodings, row_cuts, web_archives
from components.curate.files.archives import LEAST_UNPACKED
from components.curate.files.tables import DELIMITERS, columns_of
from components.curate.files.user_files import COMPRESSIONS, UserFile
from core import bounded
from core.errors import InputProblem

CHUNK = 2 << 20  # bytes of a source that are worked on at a time, where it can be cut
_BLOCK = 1 << 20


@dataclass(frozen=True)
class SourcePart:
    """A part of a source.

    Attributes:
        name: what it is, for messages; names depend on the source alone.
        size: bytes, as far as known before they are read.
        files: all that its documents are made of, in order.
        known: whether name and content of the files decide the documents; otherwise they are never taken from a cache.
    """

    name: str
    size: int
    files: tuple[UserFile, ...] = ()
    known: bool = True


def packed(files: Iterable[UserFile], most: int | None = None) -> Iterator[SourcePart]:
    """Files in parts of about ``most`` bytes (:data:`CHUNK`): large ones cut if their format allows, small ones joined.

    Small files are divided by a hash of their names, so that a file that comes or goes changes its own part only, not
    all that follow.
    """
    most = CHUNK if most is None else most
    together: list[UserFile] = []
    total = 0
    for file in files:
        size = size_of(file)
        if together and total + size > most:
            yield _part(together, total)
            together, total = [], 0
        if size > most:
            try:
                yield from _cut(file, size, most)
            except FileNotFoundError:
                raise _removed(file) from None
            continue
        together.append(file)
        total += size
        if total > most // 4 and zlib.crc32(file.name.encode()) % 8 == 0:
            yield _part(together, total)
            together, total = [], 0
    if together:
        yield _part(together, total)


def size_of(file: UserFile) -> int:
    """Bytes of a file, as far as known. Raises InputProblem where it is gone."""
    if file.url is not None:
        return file.size or 0
    try:
        return file.path.stat().st_size
    except FileNotFoundError:
        raise _removed(file) from None


def _removed(file: UserFile) -> InputProblem:
    return InputProblem(f"{file.name}: was removed while the stage ran: run it again")


def digest(files: Sequence[UserFile]) -> str:
    """SHA-256 over the content of the files, or of those parts of them that are meant.

    Of a file elsewhere it takes the mark for the content, if its store gives one.
    """
    found = hashlib.sha256()
    for file in files:
        if file.mark is not None:
            found.update(f"{file.name}\0{file.format}\0{file.size}\0{file.mark}\0".encode())
            continue
        ranges = _ranges(file)
        if file.format == "archive" and file.path.suffix.lower() == ".zip" and (file.start or file.stop):
            found.update(json.dumps(archives.entries(file)).encode())
        if file.format in DELIMITERS and file.start:
            found.update(json.dumps(columns_of(replace(file, start=0, stop=None, first=1), ())).encode())
        with open(file.path, "rb") as opened:
            for start, stop in ranges:
                found.update(f"{file.name}\0{file.format}\0{file.first}\0".encode())
                opened.seek(start)
                left = os.fstat(opened.fileno()).st_size - start if stop is None else stop - start
                while left > 0 and (block := opened.read(min(_BLOCK, left))):
                    found.update(block)
                    left -= len(block)
    return found.hexdigest()


def signs(files: Sequence[UserFile]) -> list[tuple[int, int]]:
    """Size and time of the last change of each local file: equal before and after reading, none was written."""
    found = (file.path.stat() for file in files if file.url is None)
    return [(status.st_size, status.st_mtime_ns) for status in found]


def _part(files: list[UserFile], size: int) -> SourcePart:
    more = f" and {len(files) - 1} more" if len(files) > 1 else ""
    return SourcePart(f"{files[0].name}{more}", size, tuple(files))


def _cut(file: UserFile, size: int, most: int) -> Iterator[SourcePart]:
    if file.url is not None:
        yield SourcePart(file.name, size, (file,))
    elif file.format == "jsonl" and not _is_packed(file) and not _is_wide(file):
        yield from _lines(file, size, most)
    elif file.format in ("jsonl", *DELIMITERS):
        yield from _rows(file, size, most)
    elif file.format == "warc":
        yield from _pieces(file, size, web_archives.cuts(file.path, most))
    elif file.format == "archive":
        yield from _pieces(file, size, archives.cuts(file.path, size, most))
    elif file.format == "parquet" and file.path.suffix.lower() == ".parquet":
        yield from _groups(file, size, most)
    else:
        yield SourcePart(file.name, size, (file,))


def _is_wide(file: UserFile) -> bool:
    """Whether it is in UTF-16 or UTF-32, whose lines do not end where a byte says so."""
    with open(file.path, "rb") as opened:
        return encodings.marked(opened.read(4)) not in (None, "utf-8-sig")


def _pieces(file: UserFile, size: int, places: Iterable[int]) -> Iterator[SourcePart]:
    """Pieces that begin at the places, where a record or a member does."""
    start, left = 0, size
    for place in places:
        part = min(place - start, left)
        yield SourcePart(_from(file, start), part, (replace(file, start=start, stop=place),))
        start, left = place, left - part
    yield SourcePart(_from(file, start), left, (replace(file, start=start),))


def _from(file: UserFile, start: int) -> str:
    return f"{file.name} from byte {start}" if start else file.name


def _lines(file: UserFile, size: int, most: int) -> Iterator[SourcePart]:
    """Pieces that end with a line. The lines are counted here, since a row is known by its number."""
    start, first = 0, 1
    with open(file.path, "rb") as opened:
        while start < size:
            lines, stop = 0, start
            while stop - start < most and (block := opened.read(min(_BLOCK, most - (stop - start)))):
                lines += block.count(b"\n")
                stop += len(block)
            if rest := opened.readline(bounded.LONGEST_LINE):
                stop += len(rest)
                lines += rest.endswith(b"\n")
            if stop == start:
                return  # it has become shorter meanwhile
            piece = replace(file, start=start, stop=stop, first=first)
            yield SourcePart(f"{file.name} from line {first}", stop - start, (piece,))
            start, first = stop, first + lines


def _rows(file: UserFile, size: int, most: int) -> Iterator[SourcePart]:
    """Pieces of rows; of a compressed file they are as large as it is packed, since each unpacks all before it, too."""
    places = row_cuts.cuts(file, max(most, size, LEAST_UNPACKED) if _is_packed(file) else most)
    starts = [(0, 1), *places]
    for (start, first), stop in zip(starts, [*(place for place, _ in places), None], strict=True):
        name = f"{file.name} from line {first}" if places else file.name
        yield SourcePart(name, size // len(starts), (replace(file, start=start, stop=stop, first=first),))


def _is_packed(file: UserFile) -> bool:
    return file.path.suffix.lower() in COMPRESSIONS


def _groups(file: UserFile, size: int, most: int) -> Iterator[SourcePart]:
    """Row groups, several together while they are small; a file that is none is one part, which will say so."""
    try:
        metadata = pq.read_metadata(file.path)
    except (OSError, pa.ArrowException):
        yield SourcePart(file.name, size, (file,))
        return
    start, first, weight, rows = 0, 1, 0, 0
    for number in range(metadata.num_row_groups):
        group = metadata.row_group(number)
        weight += sum(group.column(column).total_compressed_size for column in range(group.num_columns))
        rows += group.num_rows
        if weight >= most or number == metadata.num_row_groups - 1:
            piece = replace(file, start=start, stop=number + 1, first=first)
            yield SourcePart(f"{file.name} from row {first}", weight, (piece,))
            start, first, weight, rows = number + 1, first + rows, 0, 0
    if not metadata.num_row_groups:
        yield SourcePart(file.name, size, (file,))


def _ranges(file: UserFile) -> list[tuple[int, int | None]]:
    """The ranges of its bytes that a file, or a piece of it, is made of."""
    if file.format == "parquet" and file.stop is not None:
        return _row_groups(file)
    packed_rows = file.format in ("jsonl", *DELIMITERS) and _is_packed(file)
    if packed_rows or (file.format == "archive" and file.path.suffix.lower() not in (".zip", ".tar")):
        return [(0, None)]  # places are of what it unpacks to
    return [(file.start, file.stop)]


def _row_groups(file: UserFile) -> list[tuple[int, int | None]]:
    """The ranges of bytes that the row groups of a piece take."""
    metadata, ranges = pq.read_metadata(file.path), []
    for number in range(file.start, file.stop or 0):
        columns = [metadata.row_group(number).column(index) for index in range(metadata.row_group(number).num_columns)]
        starts = [column.dictionary_page_offset or column.data_page_offset for column in columns]
        ends = [start + column.total_compressed_size for start, column in zip(starts, columns, strict=True)]
        ranges.append((min(starts), max(ends)))
    return ranges
