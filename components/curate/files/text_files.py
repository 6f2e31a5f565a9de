"""Text files as lines of UTF-8, whatever encoding and compression they are in."""

from __future__ import annotations

import codecs
import io
import lzma
import zlib
from collections.abc import Callable, Iterator, Mapping
from typing import IO, cast

import pyarrow as pa

from components.curate.files import encodings
from components.curate.files.user_files import UserFile
from core import bounded
from core.errors import InputProblem

DAMAGE = (OSError, EOFError, zlib.error, lzma.LZMAError, pa.ArrowException)
"""What reading a damaged file raises."""
Noted = Callable[[str], None]
"""Called with the encoding of a file that is not UTF-8."""
_SHOWN = 3
_BLOCK = 1 << 20  # bytes
_SAMPLE = 1 << 18  # bytes, from the first beyond ASCII on, by which an encoding is known


def text_lines(file: UserFile, note: Noted | None = None) -> Iterator[bytes]:
    """Lines of a text file, or of the piece of it that is meant, in UTF-8 without a byte-order mark.

    A line that cannot be read by the file's encoding has bytes that are not UTF-8. JSON is UTF-8 or begins with a mark
    (RFC 8259), so that nothing is guessed of it.

    Raises:
        InputProblem: the file holds no text, or it is damaged.
    """
    try:
        with file.opened() as opened:
            head = b"" if file.start else cast(io.BufferedReader, opened).peek(1 << 16)
            name = encodings.marked(head)
            if name is None and b"\0" in head:
                raise InputProblem(f"{file.name}: holds NUL bytes, as binary files do: leave it out")
            if name is not None and name != "utf-8-sig":
                if note is not None:
                    note(name)
                yield from _transcoded(opened, name)
                return
            if file.start:
                _go_to(opened, file.start)
            lines = _piece(opened, file.start, file.stop)
            is_utf_8 = name is not None or file.format in ("jsonl", "json")
            yield from lines if is_utf_8 else _detected(lines, note)
    except DAMAGE as error:
        raise InputProblem(damaged(file, error)) from error


def whole(file: UserFile, note: Noted | None = None) -> bytes:
    """A text file's content, as :func:`text_lines` gives it. Raises InputProblem, as that and for its size."""
    found, size = [], 0
    for line in text_lines(file, note):
        found.append(line)
        size += len(line)
        if size > bounded.LARGEST_WHOLE:
            raise InputProblem(
                f"{file.name}: has to be read as a whole and is larger than {bounded.LARGEST_WHOLE >> 20} MiB: divide "
                "it, or give a row a line (.jsonl)"
            )
    return b"".join(found)


def content(file: UserFile) -> bytes:
    """A file's unpacked bytes as they are. Raises InputProblem."""
    try:
        with file.opened() as opened:
            return bounded.whole(opened)
    except DAMAGE as error:
        raise InputProblem(damaged(file, error)) from error


def damaged(file: UserFile, error: Exception) -> str:
    """The message of one of :data:`DAMAGE`."""
    return f"{file.name}: cannot be read as {file.format} to its end ({error}): replace or remove the file"


def encoding_warnings(found: Mapping[str, str]) -> list[str]:
    """Warnings of encodings that were guessed, given by file; files that agree share one."""
    files: dict[str, list[str]] = {}
    for file, name in sorted(found.items()):
        if not name.startswith("utf-"):
            files.setdefault(name, []).append(file)
    warnings = []
    for name, names in files.items():
        more = f" and {len(names) - _SHOWN} more files" if len(names) > _SHOWN else ""
        warnings.append(
            f"{', '.join(names[:_SHOWN])}{more}: read as {name}, which the bytes look like; if signs are wrong in the "
            "corpus, save as UTF-8"
        )
    return warnings


def _go_to(opened: IO[bytes], place: int) -> None:
    if opened.seekable():
        opened.seek(place)
        return
    while place > 0 and (read := opened.read(min(place, _BLOCK))):  # unpacked for the sake of what follows
        place -= len(read)


def _piece(opened: IO[bytes], place: int, stop: int | None) -> Iterator[bytes]:
    for line in bounded.lines(opened):
        yield line.removeprefix(codecs.BOM_UTF8) if place == 0 else line
        place += len(line)
        if place == stop:
            return


def _transcoded(opened: IO[bytes], name: str) -> Iterator[bytes]:
    """Lines of UTF-16 or UTF-32, whose newlines are no single bytes; halves of surrogate pairs stay halves."""
    text = io.TextIOWrapper(opened, name, errors="surrogatepass", newline="\n")
    try:
        while line := text.readline(bounded.LONGEST_LINE):
            if len(line) == bounded.LONGEST_LINE:
                raise bounded.OutOfBounds(f"a line is longer than {bounded.LONGEST_LINE >> 20} million characters")
            yield line.encode("utf-8", "surrogatepass")
    except UnicodeError as error:
        raise EOFError(f"is not {name}: {error}") from error


def _detected(lines: Iterator[bytes], note: Noted | None) -> Iterator[bytes]:
    """The lines in UTF-8; their encoding is decided where the first byte beyond ASCII is."""
    for line in lines:
        if encodings.is_ascii(line):
            yield line
            continue
        sample, size = [line], len(line)
        for following in lines:
            sample.append(following)
            size += len(following)
            if size >= _SAMPLE:
                break
        name = encodings.of_lines(sample)
        if name == encodings.UTF_8:
            yield from sample
            yield from lines
            return
        if note is not None:
            note(name)
        yield from (_converted(each, name) for each in sample)
        yield from (_converted(each, name) for each in lines)


def _converted(line: bytes, name: str) -> bytes:
    if encodings.is_ascii(line):
        return line
    try:
        return line.decode(name).encode()
    except UnicodeDecodeError:
        return line  # its reader says what is wrong with it
