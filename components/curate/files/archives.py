"""Members of zip and tar archives, read in memory: nothing is written, so names and links in them lead nowhere.

Of a large archive pieces are read, each from the start of a member to that of another. The members and their order are
the same, however it is divided.
"""

from __future__ import annotations

import io
import tarfile
import zipfile
from bisect import bisect_left
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from functools import lru_cache
from itertools import pairwise
from operator import attrgetter
from pathlib import Path, PurePosixPath
from typing import IO, Any, Self, cast

from components.curate.files.text_files import DAMAGE, damaged
from components.curate.files.user_files import DOCUMENTS, UserFile, format_of, shown
from components.curate.ledger import Ledger
from core import bounded
from core.errors import InputProblem

LARGEST_MEMBER = 256 << 20  # bytes, of what is in memory at once
LONGEST_NAME = 4096  # characters, as systems have it
_LARGEST_HEADERS = 4 << 20  # bytes of headers between two members of a tar archive: long names, attributes
LEAST_UNPACKED = 16 << 20  # bytes of a piece of a compressed file, all before which is unpacked too
_BROKEN = (*DAMAGE, zipfile.BadZipFile, tarfile.TarError, NotImplementedError, RuntimeError, ValueError, OverflowError)
"""What the two libraries raise of archives that are damaged, encrypted or packed in another way."""


class _Unusable(ValueError):
    """A member that cannot be read; the others can."""


def members(file: UserFile, ledger: Ledger) -> Iterator[UserFile]:
    """The files of an archive, or of the piece of it that is meant, that a corpus can be made of, in order, each with
    its content.

    Each is a row of the archive. Others are counted: as broken rows what cannot be read, as left out other kinds, links
    and devices. Hidden files are left out as they are outside of archives. Of members with the same name each is read.

    Raises:
        InputProblem: the archive is damaged, or it unpacks to too much.
    """
    try:
        for member in _zip(file, ledger) if file.path.suffix.lower() == ".zip" else _tar(file, ledger):
            ledger.row(file.name)
            yield member
    except _BROKEN as error:
        raise InputProblem(damaged(replace(file, format="an archive"), error)) from error


def cuts(path: Path, size: int, most: int) -> Iterator[int]:
    """Where an archive of ``size`` bytes can be cut into pieces of about ``most``: each place is the start of a member.

    Of a compressed tar archive places and sizes are of what it unpacks to, and pieces at least as large as the archive
    is packed: a piece can only be read through all that is before it, so that there should be few. An archive that is
    damaged is cut before the damage only, and the last piece says what is wrong.
    """
    try:
        if path.suffix.lower() == ".zip":
            yield from _zip_cuts(path, most)
        else:
            yield from _tar_cuts(path, most if path.suffix.lower() == ".tar" else max(most, size, LEAST_UNPACKED))
    except _BROKEN:
        return


def entries(file: UserFile) -> list[str]:
    """What the directory of a zip archive says of the members of a piece, behind all of them in the file."""
    within = _within(file, _kept_open(file))
    return [f"{each.filename}\0{each.flag_bits}\0{each.CRC}\0{each.file_size}\0{each.external_attr}" for each in within]


def _zip_cuts(path: Path, most: int) -> Iterator[int]:
    with zipfile.ZipFile(path) as archive:
        listed = archive.infolist()
        # A header is 30 bytes and a name; members that lie in each other, or in another order, are one piece.
        ends = [each.header_offset + 30 + each.compress_size for each in listed]
        if any(end > other.header_offset for end, (_, other) in zip(ends, pairwise(listed), strict=False)):
            return
        start = 0
        for each in listed:
            if each.header_offset - start >= most:
                start = each.header_offset
                yield start


def _tar_cuts(path: Path, most: int) -> Iterator[int]:
    start = 0
    for archive, entry, _ in _headers(path, 0, bounded.Allowance(path)):
        if set(archive.pax_headers) - {"comment"}:
            return  # it holds for all members behind it
        if entry.offset - start >= most:
            start = entry.offset
            yield start


def _zip(file: UserFile, ledger: Ledger) -> Iterator[UserFile]:
    if file.start or file.stop is not None:
        yield from _zipped(file, _kept_open(file), ledger)
    else:
        with zipfile.ZipFile(file.path) as archive:
            yield from _zipped(file, archive, ledger)


def _kept_open(file: UserFile) -> zipfile.ZipFile:
    """The archive of a piece: its directory takes longer to read than most pieces."""
    status = file.path.stat()
    return _opened(file.path, status.st_size, status.st_mtime_ns)


@lru_cache(maxsize=1)
def _opened(path: Path, size: int, changed: int) -> zipfile.ZipFile:
    return zipfile.ZipFile(path)


def _within(file: UserFile, archive: zipfile.ZipFile) -> list[zipfile.ZipInfo]:
    listed = archive.infolist()
    if not file.start and file.stop is None:
        return listed  # in whatever order they are
    place = attrgetter("header_offset")
    return listed[
        bisect_left(listed, file.start, key=place) :
        None if file.stop is None else bisect_left(listed, file.stop, key=place)
    ]  # fmt: skip


def _zipped(file: UserFile, archive: zipfile.ZipFile, ledger: Ledger) -> Iterator[UserFile]:
    allowance = _allowance(file)
    for entry in _within(file, archive):
        if entry.filename.endswith("/"):
            continue
        kind = _kind(file, entry.filename, entry.external_attr >> 28 == 0xA, ledger)
        if kind is None:
            continue
        try:
            if entry.flag_bits & 1:
                raise _Unusable("is encrypted")
            with archive.open(entry) as stream:
                content = _content(cast(IO[bytes], stream), entry.file_size, allowance)
        except bounded.OutOfBounds:
            raise
        except _BROKEN as error:
            _break(file, entry.filename, str(error) or type(error).__name__, ledger)
            continue
        yield _member(file, entry.filename, kind, content, allowance)


def _tar(file: UserFile, ledger: Ledger) -> Iterator[UserFile]:
    packed = file.path.suffix.lower() != ".tar"
    # To reach its members, all before them is unpacked.
    allowance = bounded.Allowance(file.path) if packed else _allowance(file)
    for archive, entry, ended in _headers(file.path, file.start, allowance):
        if file.stop is not None and file.start + entry.offset >= file.stop:
            return
        if ended is not None:
            _break(file, "the end", ended, ledger)
            return
        kind = _kind(file, entry.name, not entry.isreg() or entry.issparse(), ledger)
        opened = archive.extractfile(entry) if entry.isreg() and not entry.issparse() else None
        if kind is None or opened is None:
            continue
        try:
            content = _content(opened, entry.size, None if packed else allowance)
        except _Unusable as error:
            _break(file, entry.name, str(error), ledger)
        else:
            yield _member(file, entry.name, kind, content, allowance)


class _Entry(tarfile.TarInfo):
    """Headers of a tar archive; tarfile takes one that is damaged for the end."""

    @classmethod
    def fromtarfile(cls, archive: tarfile.TarFile) -> Self:  # type: ignore[override]
        try:
            return super().fromtarfile(archive)
        except tarfile.EOFHeaderError:  # type: ignore[attr-defined]
            cast(Any, archive).has_end = True
            raise
        except (tarfile.InvalidHeaderError, tarfile.TruncatedHeaderError) as error:  # type: ignore[attr-defined]
            raise tarfile.ReadError(f"a header is damaged: {error}") from error


def _headers(
    path: Path, start: int, allowance: bounded.Allowance
) -> Iterator[tuple[tarfile.TarFile, tarfile.TarInfo, str | None]]:
    """Members from ``start`` on, with places as seen from there, and what is wrong with the end behind the last."""
    suffix = path.suffix.lower().replace(".tgz", ".gz")
    with closing(_Headers(bounded.unpacked(path, suffix, allowance))) as stream:
        stream.skip(start, suffix == ".tar")
        stream.left = _LARGEST_HEADERS  # opening it reads the first
        with tarfile.open(fileobj=cast(Any, stream), mode="r|", tarinfo=_Entry) as archive:
            within = cast(Any, archive)
            last = None
            while entry := archive.next():
                stream.left = None  # what is skipped and read now is no header
                within.members.clear()  # otherwise it remembers every one
                last = entry
                yield archive, entry, None
                if within.fileobj.tell() < within.offset - 1:
                    within.fileobj.seek(within.offset - 1)
                stream.left = _LARGEST_HEADERS
            stream.left = None
            if last is None:
                return
            if not hasattr(archive, "has_end"):
                yield archive, last, "has no end mark: members may be missing"
            within.fileobj.read(-(start + within.fileobj.tell()) % tarfile.RECORDSIZE)
            while block := within.fileobj.read(1 << 20):
                if block.strip(b"\0"):
                    yield archive, last, "more follows behind the end mark, which is not read: divide it"
                    return


def _allowance(file: UserFile) -> bounded.Allowance:
    """What may be unpacked of an archive, or of a piece of it."""
    return bounded.Allowance((file.path.stat().st_size if file.stop is None else file.stop) - file.start)


def _kind(file: UserFile, name: str, special: bool, ledger: Ledger) -> str | None:
    """Format of a member; ``None`` for one that is left out, which is counted."""
    path = _path(name)
    if any((part.startswith(".") and part not in (".", "..")) or part == "__MACOSX" for part in path.parts):
        return None
    if special:
        ledger.skip("archive members: links and special files")
        return None
    kind = format_of(Path(path.name), DOCUMENTS)
    if kind is not None and len(name) > LONGEST_NAME:
        _break(file, name[:LONGEST_NAME], f"has a name of more than {LONGEST_NAME} characters", ledger)
        return None
    if kind == "archive":
        _break(file, name, "is an archive within an archive, which is not read: unpack it", ledger)
        return None
    if kind is None:
        ledger.skip(f"archive members: {path.suffix[:10].lower() or 'without a suffix'}")
    return kind


def _content(stream: IO[bytes], size: int, allowance: bounded.Allowance | None) -> bytes:
    if size > LARGEST_MEMBER:
        raise _Unusable(f"is larger than {LARGEST_MEMBER >> 20} MiB: unpack it")
    content = bytearray()
    while block := stream.read(1 << 20):
        if allowance is not None:
            allowance.take(len(block))
        content += block
        if len(content) > LARGEST_MEMBER:  # it says another size
            raise _Unusable(f"is larger than {LARGEST_MEMBER >> 20} MiB: unpack it")
    return bytes(content)


def _member(file: UserFile, name: str, kind: str, content: bytes, allowance: bounded.Allowance) -> UserFile:
    path = _path(name)
    return UserFile(
        f"{file.name}/{path}", Path(path.name), kind, content=content, allowance=allowance, archive=file.name
    )


def _path(name: str) -> PurePosixPath:
    """A member's name, on which terminals and lines of a message do not break."""
    name = shown(name).replace("\\", "/")
    return PurePosixPath(name if name.isprintable() else "".join(sign if sign.isprintable() else "?" for sign in name))


def _break(file: UserFile, name: str, error: str, ledger: Ledger) -> None:
    ledger.row(file.name)
    ledger.break_row(file.name, str(_path(name)), error)


class _Headers(io.RawIOBase):
    """A stream for tarfile, which reads a header into memory whatever size it says that it has.

    Attributes:
        left: bytes that may be read before the next member's content; ``None``: all.
    """

    def __init__(self, stream: IO[bytes]):
        self._stream = stream
        self.left: int | None = None

    def skip(self, count: int, seekable: bool) -> None:
        """Go on behind so many bytes."""
        if seekable:
            self._stream.seek(count)
            return
        while count and (block := self._stream.read(min(count, 1 << 20))):
            count -= len(block)

    def read(self, size: int = -1) -> bytes:
        block = self._stream.read(size)
        if self.left is not None:
            self.left -= len(block)
            if self.left < 0:
                raise bounded.OutOfBounds(f"a header of it is larger than {_LARGEST_HEADERS >> 20} MiB")
        return block

    def close(self) -> None:
        self._stream.close()
        super().close()
