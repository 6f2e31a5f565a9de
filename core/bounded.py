"""Reading files that others wrote, within bounds: a small file may not become a large one in memory or on the disk.

A compressed file may grow :data:`LARGEST_RATIO` times (text grows 3 to 20 times, logs up to 100; deflate could reach
1032, RFC 1951), a line and a value that is read as a whole have a largest size, and nesting a largest depth: readers
that call themselves for each level fail in ways of their own, or end the process.
"""

from __future__ import annotations

import copy
import functools
import io
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Any, cast

from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

LARGEST_RATIO = 200
ALWAYS_ALLOWED = 64 << 20  # bytes that any file may unpack to, whatever its ratio
LONGEST_LINE = 64 << 20  # bytes
LARGEST_WHOLE = 1 << 30  # bytes of what has to be in memory at once
DEEPEST = 64  # levels of lists and objects in each other
MOST_VALUES = 200_000  # of a YAML file, those that its aliases repeat included
_INDENTED = re.compile(rf"^[ \t?-]{{{2 * DEEPEST}}}", re.MULTILINE)  # a level of YAML takes a sign or more
_BRACKETS = re.compile(r"[\[\]{}]")


class OutOfBounds(OSError):
    """A file unpacks to too much, or holds a line or a whole that is too large."""


def allowed_bytes(source: Path | bytes | int) -> int:
    """What a compressed file, its content, or so many bytes of one may unpack to."""
    if isinstance(source, int):
        size = source
    else:
        size = len(source) if isinstance(source, bytes) else source.stat().st_size
    return max(ALWAYS_ALLOWED, LARGEST_RATIO * size)


class Allowance:
    """What may still be unpacked of a file, all that is packed within it included."""

    def __init__(self, source: Path | bytes | int):
        self.allowed = self.left = allowed_bytes(source)

    def take(self, count: int) -> None:
        """Count bytes that were unpacked. Raises OutOfBounds."""
        self.left -= count
        if self.left < 0:
            raise OutOfBounds(
                f"it unpacks to more than {self.allowed >> 20} MiB, {LARGEST_RATIO} times its size: such a file is "
                "made to fill a memory; if yours is none, unpack it"
            )


def unpacked(source: Path | bytes, suffix: str | None = None, allowance: Allowance | None = None) -> IO[bytes]:
    """A file's content as a stream; unpacked where its suffix says that it is compressed.

    Args:
        source: the file's path, or its content.
        suffix: of the name that it goes by, where that is not its path's.
        allowance: of the file that it is in, where it is in one.

    Raises:
        OutOfBounds: while it is read, once it has grown too much.
    """
    if suffix is None:
        suffix = "" if isinstance(source, bytes) else source.suffix
    opened: IO[bytes] = (
        open(source, "rb") if isinstance(source, Path) else io.BufferedReader(cast(Any, io.BytesIO(source)))
    )
    opener = _OPENERS.get(suffix.lower())
    if opener is None:
        return opened
    return io.BufferedReader(_Bounded(opener(opened), allowance or Allowance(source), opened), 1 << 16)


def lines(file: IO[bytes]) -> Iterator[bytes]:
    """The lines of a stream.

    Raises:
        OutOfBounds: one is too long.
    """
    while line := file.readline(LONGEST_LINE):
        if len(line) == LONGEST_LINE and not line.endswith(b"\n"):
            raise OutOfBounds(f"a line is longer than {LONGEST_LINE >> 20} MiB")
        yield line


def whole(file: IO[bytes]) -> bytes:
    """All of a stream.

    Raises:
        OutOfBounds: it is too large to be in memory at once.
    """
    content = file.read(LARGEST_WHOLE + 1)
    if len(content) > LARGEST_WHOLE:
        raise OutOfBounds(f"it has to be read as a whole and is larger than {LARGEST_WHOLE >> 20} MiB: divide it")
    return content


def require_small_pages(table: Any, source: Path | bytes) -> None:
    """Check what a ``pyarrow.parquet.ParquetFile`` says that its pages unpack to; a page is in memory as a whole.

    Raises:
        OutOfBounds: too much for the size of the file at the path, or of its content.
    """
    groups = (table.metadata.row_group(number) for number in range(table.metadata.num_row_groups))
    if sum(group.total_byte_size for group in groups) > allowed_bytes(source):
        raise OutOfBounds(f"its pages unpack to more than {LARGEST_RATIO} times the file's size")


def deeper(value: Any, levels: int = DEEPEST) -> bool:
    """Whether lists and mappings lie in each other more than so many levels deep."""
    return _exceeds(value, levels, None)


def yaml(content: str | bytes, *, fast: bool = False) -> Any:
    """The value of a YAML text.

    Args:
        fast: by the C library where there is one, for files that programs wrote.

    Raises:
        YAMLError: it is none, is not UTF-8, is nested too deep, or its aliases repeat too much.
    """
    try:
        text = content.decode() if isinstance(content, bytes) else content
    except UnicodeDecodeError as error:
        raise YAMLError(f"not UTF-8: {error.reason} at byte {error.start}") from None
    return _load(text, fast) if fast else copy.deepcopy(_load_again(text))


def _load(text: str, fast: bool) -> Any:
    if _INDENTED.search(text) or _brackets(text) > DEEPEST:
        raise YAMLError(f"nested deeper than {DEEPEST} levels")
    try:
        value = YAML(typ="safe", pure=not fast).load(text)
    except RecursionError:
        raise YAMLError(f"nested deeper than {DEEPEST} levels") from None
    if _exceeds(value, DEEPEST, MOST_VALUES):
        raise YAMLError(f"nested deeper than {DEEPEST} levels, or its aliases make more than {MOST_VALUES:,} values")
    return value


@functools.lru_cache(maxsize=8)
def _load_again(text: str) -> Any:
    """The same text is asked for again and again: a command reads the workspace's files at many places."""
    return _load(text, fast=False)


def _brackets(text: str) -> int:
    """The most brackets that are open at once; those in texts and comments count too."""
    depth = most = 0
    for sign in _BRACKETS.finditer(text):
        depth = depth + 1 if sign.group() in "[{" else max(0, depth - 1)
        most = max(most, depth)
    return most


def _exceeds(value: Any, levels: int, count: int | None) -> bool:
    """Level by level, without calling itself: a value that holds itself is deep without end."""
    level = [value]
    for _ in range(levels + 1):
        level = [
            child
            for each in level
            if isinstance(each, dict | list)
            for child in (each.values() if isinstance(each, dict) else each)
        ]
        if not level:
            return False
        if count is not None and (count := count - len(level)) < 0:
            return True
    return True


class _Bounded(io.RawIOBase):
    """A stream that may give so many bytes and no more."""

    def __init__(self, stream: IO[bytes], allowance: Allowance, file: IO[bytes] | None = None):
        self._stream, self._allowance = stream, allowance
        self._file = file  # what the stream reads from, which gzip, bz2 and lzma leave open

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        count = int(cast(Any, self._stream).readinto(buffer))
        self._allowance.take(count)
        return count

    def close(self) -> None:
        if not self.closed:
            self._stream.close()
            if self._file is not None:
                self._file.close()
        super().close()


def _gzip(file: IO[bytes]) -> IO[bytes]:
    import gzip

    return cast(IO[bytes], gzip.open(file, "rb"))


def _zstandard(file: IO[bytes]) -> IO[bytes]:
    import pyarrow

    # The reader of the library zstandard takes the end of a file that is cut off for the end of its text.
    return cast(IO[bytes], pyarrow.CompressedInputStream(file, "zstd"))


def _bz2(file: IO[bytes]) -> IO[bytes]:
    import bz2

    return cast(IO[bytes], bz2.open(file, "rb"))


def _xz(file: IO[bytes]) -> IO[bytes]:
    import lzma

    return cast(IO[bytes], lzma.open(file, "rb"))


_OPENERS: dict[str, Callable[[IO[bytes]], IO[bytes]]] = {".gz": _gzip, ".zst": _zstandard, ".bz2": _bz2, ".xz": _xz}
