"""Pages of WARC files (ISO 28500) and texts of WET files, as crawlers write them (Common Crawl), by fastwarc.

What cannot be read is counted, with where it stands, and reading goes on at the next record: at the next member of a
gzip file of which each record is compressed by itself, at the next ``WARC/`` of one that is not compressed. Of other
compressions all behind it is lost, which is counted too.

What a file, or a piece of one, unpacks to is bounded as of every archive, blank lines between records and the bodies
within them included.
"""

from __future__ import annotations

import io
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, cast

from components.curate.files import encodings
from components.curate.files.text_files import DAMAGE, damaged
from components.curate.files.user_files import UserFile, shown
from components.curate.ledger import Ledger
from core import bounded
from core.errors import InputProblem

LARGEST_PAGE = 16 << 20  # bytes; pages are some 100 KB, and crawlers cut them at 1 MB
_WANTED = ("response", "resource", "conversion")
_GZIP, _PLAIN = b"\x1f\x8b\x08", b"\nWARC/1."
_FORWARD = (".bz2", ".xz", ".zst")  # read from beginning to end
_ATTEMPTS = 10_000  # signs of a record in a row at which there is none
_LARGEST_HEADER = 64 << 10  # bytes
_HTML = ("text/html", "application/xhtml+xml")
_BLOCK = 1 << 16


@dataclass(frozen=True)
class ArchivedPage:
    """A text of an archive; ``html``: it has its markup yet; ``where``: its address."""

    where: str
    text: str
    html: bool


class _Unusable(ValueError):
    """A record that holds no page, by mistake."""


class _Other(ValueError):
    """A record that holds no page, by right."""


def pages(file: UserFile, ledger: Ledger) -> Iterator[ArchivedPage]:
    """The pages of an archive, or of the piece of it that is meant, in order.

    Raises:
        InputProblem: it holds no record, or unpacks to too much.
    """
    allowance = file.allowance or bounded.Allowance(_size(file) - file.start)
    for record in _records(file, ledger, allowance):
        kind = record.headers.get("WARC-Type") or "unknown"
        if kind not in _WANTED:
            ledger.skip(f"WARC records: {shown(kind)[:20]}")
            continue
        address = shown(record.headers.get("WARC-Target-URI") or "").strip("<>")
        where = address or f"{file.name}#{record.stream_pos}"
        try:
            page = _page(record, where, ledger, allowance)
        except _Other as reason:
            ledger.skip(f"WARC records: {reason}")
        except _Unusable as error:
            ledger.row(file.counted)
            ledger.break_row(file.counted, file.place(f"record at byte {record.stream_pos:,}"), str(error), address)
        except bounded.OutOfBounds as error:
            raise InputProblem(damaged(file, error)) from error
        else:
            ledger.row(file.counted)
            yield page


def cuts(path: Path, most: int) -> Iterator[int]:
    """Where a file can be cut into pieces of about ``most`` bytes: each place is the start of a record.

    None where its records are compressed together, or by something else than gzip.
    """
    from fastwarc.warc import ArchiveIterator

    suffix = path.suffix.lower()
    if suffix not in ("", ".gz", ".warc", ".wet"):
        return
    allowance = bounded.Allowance(path)
    with open(path, "rb") as stream:
        place, attempts = _next(stream, most, suffix), 0
        while place is not None and attempts < _ATTEMPTS:
            stream.seek(place)
            source = _Metered(stream, allowance) if suffix == ".gz" else stream
            try:
                begins = any(True for _ in ArchiveIterator(source, parse_http=False, max_header_len=_LARGEST_HEADER))
            except bounded.OutOfBounds:
                return  # whoever reads it says so
            except DAMAGE:
                begins = False
            if begins:
                yield place
            attempts = 0 if begins else attempts + 1
            place = _next(stream, place + (most if begins else 1), suffix)


def _records(file: UserFile, ledger: Ledger, allowance: bounded.Allowance) -> Iterator[Any]:
    """Every record that can be found; gaps are counted as broken."""
    from fastwarc.warc import ArchiveIterator

    suffix = file.path.suffix.lower()
    start: int | None = file.start
    last, found, attempts = file.start - 1, False, 0
    gap: tuple[int, str] | None = None  # from where on nothing could be read, and why
    with _opened(file) as stream:
        while start is not None and attempts < _ATTEMPTS and (file.stop is None or start < file.stop):
            if start:
                stream.seek(start)
            attempts += 1
            source = _Metered(stream, allowance) if suffix == ".gz" else stream
            try:
                for record in ArchiveIterator(source, parse_http=False, max_header_len=_LARGEST_HEADER):
                    if gap:
                        _count_gap(file, ledger, gap, record.stream_pos)
                        gap = None
                    if file.stop is not None and record.stream_pos >= file.stop:
                        return
                    last, found, attempts = record.stream_pos, True, 0
                    yield record
                    if stream.seekable() and (record.content_length > LARGEST_PAGE or not _has_length(record)):
                        break  # to go on from its end, it would have to be unpacked; or there is none
                else:
                    break
            except bounded.OutOfBounds as error:
                raise InputProblem(damaged(file, error)) from error
            except DAMAGE as error:
                gap = gap or (max(last, 0), str(error))
            last = max(last, start)
            start = _next(stream, last + 1, suffix)
    if not found and not file.start:
        raise InputProblem(f"{file.name}: holds no WARC record: check that it is a WARC or WET file (ARC is not read)")
    if gap:
        _count_gap(file, ledger, gap, None)


def _opened(file: UserFile) -> IO[bytes]:
    """The file as fastwarc reads it, which unpacks gzip itself."""
    if file.path.suffix.lower() in _FORWARD:
        return cast(IO[bytes], _Forward(file.opened()))
    return open(file.path, "rb") if file.content is None else io.BytesIO(file.content)


def _size(file: UserFile) -> int:
    if file.stop is not None:
        return file.stop
    return file.path.stat().st_size if file.content is None else len(file.content)


class _Metered(io.RawIOBase):
    """A gzip file for fastwarc, which unpacks it without saying how much that is: it is unpacked here too, to count."""

    def __init__(self, stream: IO[bytes], allowance: bounded.Allowance):
        self._stream, self._allowance = stream, allowance
        self._unpacker = zlib.decompressobj(31)

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def read(self, size: int = -1) -> bytes:
        block = left = self._stream.read(size)
        while left:
            try:
                self._allowance.take(len(self._unpacker.decompress(left, _BLOCK)))
            except zlib.error:
                break  # fastwarc says so
            left = self._unpacker.unconsumed_tail
            if self._unpacker.eof:
                left, self._unpacker = self._unpacker.unused_data, zlib.decompressobj(31)
        return block

    def seek(self, offset: int, whence: int = 0) -> int:
        return self._stream.seek(offset, whence)

    def tell(self) -> int:
        return self._stream.tell()


class _Forward(io.RawIOBase):
    """A stream that cannot go back, for a reader that asks where it is."""

    def __init__(self, stream: IO[bytes]):
        self._stream, self._place = stream, 0

    def readable(self) -> bool:
        return True

    def read(self, size: int = -1) -> bytes:
        block = self._stream.read(size)
        self._place += len(block)
        return block

    def seek(self, offset: int, whence: int = 0) -> int:
        if (offset, whence) not in ((0, 1), (self._place, 0)):
            raise io.UnsupportedOperation("seek")
        return self._place

    def tell(self) -> int:
        return self._place

    def close(self) -> None:
        self._stream.close()
        super().close()


def _next(stream: IO[bytes], position: int, suffix: str) -> int | None:
    """Where from ``position`` on the next record begins, or may begin; ``None`` at the end of the file."""
    if not stream.seekable():
        return None
    sign = _GZIP if suffix == ".gz" else _PLAIN
    stream.seek(position)
    kept = b""
    while block := stream.read(_BLOCK):
        window = kept + block
        place = window.find(sign)
        if place >= 0:
            return position - len(kept) + place + sign.startswith(b"\n")
        kept = window[-len(sign) + 1 :]
        position += len(block)
    return None


def _count_gap(file: UserFile, ledger: Ledger, gap: tuple[int, str], until: int | None) -> None:
    ledger.row(file.counted)
    end = "the end" if until is None else f"byte {until:,}"
    ledger.break_row(
        file.counted,
        file.place(f"record at byte {gap[0]:,}"),
        f"what follows it, up to {end}, cannot be read ({gap[1]})",
    )


def _has_length(record: Any) -> bool:
    return (record.headers.get("Content-Length") or "").strip().isdigit()


def _page(record: Any, where: str, ledger: Ledger, allowance: bounded.Allowance) -> ArchivedPage:
    """The page of a record. Raises _Other, _Unusable, OutOfBounds."""
    headers, size = record.headers, record.content_length
    if not _has_length(record):
        raise _Unusable("has no Content-Length")
    if size > LARGEST_PAGE:
        raise _Other(f"larger than {LARGEST_PAGE >> 20} MiB")
    try:
        raw = record.reader.read()
    except OSError as error:
        raise _Unusable(f"cannot be read ({error})") from error
    if len(raw) < size:
        raise _Unusable(f"ends after {len(raw):,} of its {size:,} bytes")
    kind, charset = headers.get("Content-Type") or "", None
    if kind.startswith("application/http"):
        packed = len(raw)
        raw, kind, charset = _answer(raw)
        allowance.take(max(0, len(raw) - packed))
    kind = kind.partition(";")[0].strip().lower() or headers.get("WARC-Identified-Payload-Type") or ""
    if kind not in (*_HTML, "text/plain"):
        raise _Other(shown(kind)[:40] or "without a type")
    text, encoding = encodings.decode(raw, charset)
    if encoding != encodings.UTF_8:
        ledger.change(f"pages read as {encoding}")
    return ArchivedPage(where, text, kind in _HTML)


def _answer(raw: bytes) -> tuple[bytes, str, str | None]:
    """Body, type and charset of a server's answer."""
    from fastwarc.warc import WarcRecord

    record = WarcRecord()
    record.set_bytes_content(raw)
    record.is_http = True
    try:
        record.parse_http(auto_decode="all")
        headers = record.http_headers
        status = None if headers is None else headers.status_code
        if not isinstance(status, int):
            raise _Unusable("holds no answer of a server")
        if not 200 <= status < 300:
            raise _Other(f"status {status // 100}xx")
        body = record.reader.read(LARGEST_PAGE + 1)
    except OSError as error:
        raise _Unusable(f"its content cannot be unpacked ({error})") from error
    if len(body) > LARGEST_PAGE:
        raise _Other(f"larger than {LARGEST_PAGE >> 20} MiB")
    return body, record.http_content_type or "", record.http_charset
