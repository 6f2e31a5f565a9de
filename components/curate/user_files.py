"""The user's files under data/raw: which ones a glob names, and how they are opened.

All of curation finds and opens files through here, so that a format, a compression or an encoding is the same thing in
a corpus, in instructions and in labels. Text is UTF-8; what is in another encoding is refused by name.
"""

from __future__ import annotations

import bz2
import codecs
import gzip
import io
import lzma
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO, cast

import pyarrow as pa
import zstandard

from core.errors import InputProblem

RAW = "data/raw"
TABLES = {".jsonl": "jsonl", ".ndjson": "jsonl", ".json": "json", ".csv": "csv", ".tsv": "tsv", ".parquet": "parquet"}
"""Format by suffix, of files that hold rows."""
DAMAGE = (OSError, EOFError, zlib.error, lzma.LZMAError, zstandard.ZstdError, pa.ArrowException)
"""What reading a damaged file raises, in any format and compression."""
_BYTE_ORDER_MARKS = {  # those of UTF-32 first: they begin like those of UTF-16
    codecs.BOM_UTF32_LE: "UTF-32",
    codecs.BOM_UTF32_BE: "UTF-32",
    codecs.BOM_UTF16_LE: "UTF-16",
    codecs.BOM_UTF16_BE: "UTF-16",
}


@dataclass(frozen=True)
class UserFile:
    """A user's file: its name as the user knows it (relative to the workspace), its path and its format."""

    name: str
    path: Path
    format: str


def find(
    patterns: Iterable[str], parameter: str, workspace: Path, formats: Mapping[str, str] = TABLES
) -> tuple[list[UserFile], list[str]]:
    """Files that the globs name, sorted and each once, and the problems with the globs.

    Hidden files (names that begin with a dot: .gitignore, what macOS and editors leave beside the data) are left out,
    unless a pattern names them.

    Args:
        parameter: where the patterns come from, for the messages.
        formats: format by suffix; each may be compressed.
    """
    found: dict[str, UserFile] = {}
    problems: list[str] = []
    for pattern in patterns:
        parts = PurePosixPath(pattern).parts
        if parts[:2] != ("data", "raw") or ".." in parts:
            problems.append(
                f"{parameter}: {pattern!r} is not under {RAW}/, where changes are tracked: copy or link the files "
                f"there and write {RAW}/..."
            )
            continue
        matches = [path for path in workspace.glob(pattern) if path.is_file()]
        names = {path: path.relative_to(workspace) for path in sorted(matches)}
        seen = {path: name for path, name in names.items() if not _is_hidden(name, parts)}
        if not seen:
            what = "no file matches" if any(sign in pattern for sign in "*?[") else "there is no file"
            problems.append(f"{parameter}: {what} {pattern!r} (looked in {RAW}/): check the name, or add the file")
        for path, name in seen.items():
            label = shown(name.as_posix())
            kind = format_of(path, formats)
            if kind is not None:
                found[label] = UserFile(label, path, kind)
            else:
                known = ", ".join(sorted({suffix[1:] for suffix in formats}))
                packed = ", ".join(suffix[1:] for suffix in _OPENERS)
                problems.append(f"{label}: unknown kind of file; supported are {known}, each also as {packed}")
    return sorted(found.values(), key=lambda file: file.path), problems


def format_of(path: Path, formats: Mapping[str, str]) -> str | None:
    """Format of a file by its name without a compression's suffix; ``None`` if it is not among ``formats``."""
    name = PurePosixPath(path.name.lower())
    return formats.get((PurePosixPath(name.stem) if name.suffix in _OPENERS else name).suffix)


def open_bytes(path: Path) -> IO[bytes]:
    """The file's content, unpacked if its name says that it is compressed."""
    opener = _OPENERS.get(path.suffix.lower())
    return opener(path) if opener else open(path, "rb")


def text_lines(file: UserFile) -> Iterator[bytes]:
    """Lines of a text file, without a byte-order mark.

    Raises:
        InputProblem: the file is not UTF-8 from its first bytes on, or it is damaged.
    """
    try:
        with open_bytes(file.path) as opened:
            head = cast(io.BufferedReader, opened).peek(1 << 16)
            for mark, name in _BYTE_ORDER_MARKS.items():
                if head.startswith(mark):
                    raise InputProblem(f"{file.name}: is {name}, not UTF-8: save it as UTF-8")
            if b"\0" in head:
                raise InputProblem(
                    f"{file.name}: holds NUL bytes, as UTF-16 and binary files do: save it as UTF-8, or leave it out"
                )
            for number, line in enumerate(opened):
                yield line.removeprefix(codecs.BOM_UTF8) if number == 0 else line
    except DAMAGE as error:
        raise InputProblem(damaged(file, error)) from error


def damaged(file: UserFile, error: Exception) -> str:
    """The message of one of ``DAMAGE``."""
    return f"{file.name}: cannot be read as {file.format} to its end ({error}): replace or remove the file"


def shown(text: str) -> str:
    """Text for a message, with a question mark for each byte that is not UTF-8."""
    return text.encode("utf-8", "replace").decode()


def _is_hidden(name: Path, pattern: Sequence[str]) -> bool:
    return any(part.startswith(".") and part not in pattern for part in name.parts)


def _open_zstandard(path: Path) -> IO[bytes]:
    stream = zstandard.ZstdDecompressor().stream_reader(open(path, "rb"), read_across_frames=True, closefd=True)
    return io.BufferedReader(cast(io.RawIOBase, stream))


_OPENERS: dict[str, Callable[[Path], IO[bytes]]] = {
    ".gz": lambda path: cast(IO[bytes], gzip.open(path, "rb")),
    ".zst": _open_zstandard,
    ".bz2": lambda path: cast(IO[bytes], bz2.open(path, "rb")),
    ".xz": lambda path: cast(IO[bytes], lzma.open(path, "rb")),
}
