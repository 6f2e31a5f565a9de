"""Members of zip and tar archives, read in memory: nothing is written, so names and links in them lead nowhere."""

from __future__ import annotations

import io
import tarfile
import zipfile
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path, PurePosixPath
from typing import IO, Any, cast

from components.curate.ledger import Ledger
from components.curate.text_files import DAMAGE, damaged
from components.curate.user_files import DOCUMENTS, UserFile, format_of, shown
from core import bounded
from core.errors import InputProblem

LARGEST_MEMBER = 256 << 20  # bytes, of what is in memory at once
_LARGEST_HEADERS = 4 << 20  # bytes of headers between two members of a tar archive: long names, attributes
_BROKEN = (*DAMAGE, zipfile.BadZipFile, tarfile.TarError, NotImplementedError, RuntimeError, ValueError, OverflowError)
"""What the two libraries raise of archives that are damaged, encrypted or packed in another way."""


class _Unusable(ValueError):
    """A member that cannot be read; the others can."""


def members(file: UserFile, ledger: Ledger) -> Iterator[UserFile]:
    """The files of an archive that a corpus can be made of, in order, each with its content.

    Each is a row of the archive. Others are counted: as broken rows what cannot be read, as left out other kinds, links
    and devices. Hidden files are left out as they are outside of archives.

    Raises:
        InputProblem: the archive is damaged, or it unpacks to too much.
    """
    try:
        for member in _zip(file, ledger) if file.path.suffix.lower() == ".zip" else _tar(file, ledger):
            ledger.row(file.name)
            yield member
    except _BROKEN as error:
        raise InputProblem(damaged(replace(file, format="an archive"), error)) from error


def _zip(file: UserFile, ledger: Ledger) -> Iterator[UserFile]:
    allowance = bounded.Allowance(file.path)
    with zipfile.ZipFile(file.path) as archive:
        for entry in archive.infolist():
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
    allowance = bounded.Allowance(file.path)
    suffix = file.path.suffix.lower().replace(".tgz", ".gz")
    with closing(_Headers(bounded.unpacked(file.path, suffix, allowance))) as stream:
        stream.left = _LARGEST_HEADERS  # opening it reads the first
        with tarfile.open(fileobj=cast(Any, stream), mode="r|") as archive:
            while True:
                stream.left = _LARGEST_HEADERS
                entry = archive.next()
                stream.left = None  # what is skipped and read now is no header
                if entry is None:
                    return
                cast(Any, archive).members.clear()  # otherwise it remembers every one
                if entry.isdir():
                    continue
                kind = _kind(file, entry.name, not entry.isreg() or entry.issparse(), ledger)
                opened = archive.extractfile(entry) if entry.isreg() and not entry.issparse() else None
                if kind is not None and opened is not None:
                    try:
                        content = _content(opened, entry.size, allowance if suffix == ".tar" else None)
                    except _Unusable as error:
                        _break(file, entry.name, str(error), ledger)
                    else:
                        yield _member(file, entry.name, kind, content, allowance)
                while opened is not None and opened.read(1 << 20):
                    pass  # here, where the size of headers is not counted


def _kind(file: UserFile, name: str, special: bool, ledger: Ledger) -> str | None:
    """Format of a member; ``None`` for one that is left out, which is counted."""
    path = PurePosixPath(shown(name).replace("\\", "/"))
    if any((part.startswith(".") and part not in (".", "..")) or part == "__MACOSX" for part in path.parts):
        return None
    if special:
        ledger.skip("archive members: links and special files")
        return None
    kind = format_of(Path(path.name), DOCUMENTS)
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
    path = PurePosixPath(shown(name).replace("\\", "/"))
    return UserFile(f"{file.name}/{path}", Path(path.name), kind, content=content, allowance=allowance)


def _break(file: UserFile, name: str, error: str, ledger: Ledger) -> None:
    ledger.row(file.name)
    ledger.break_row(file.name, shown(name), error)


class _Headers(io.RawIOBase):
    """A stream for tarfile, which reads a header into memory whatever size it says that it has.

    Attributes:
        left: bytes that may be read before the next member's content; ``None``: all.
    """

    def __init__(self, stream: IO[bytes]):
        self._stream = stream
        self.left: int | None = None

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
