"""How many documents of new files were never seen: compared by content, row by row, never by name or time."""

from __future__ import annotations

import csv
import io
import json
import lzma
import sys
import zlib
from collections.abc import Iterable, Iterator
from hashlib import blake2b
from pathlib import Path, PurePosixPath
from typing import IO, NamedTuple

from core import bounded
from core.errors import InputProblem

_COMPRESSED = {".gz", ".zst", ".bz2", ".xz"}
_BATCH = 1024  # parquet rows read at a time


class Content(NamedTuple):
    """A file's bytes and the name they go by; in DVC's cache, bytes are named by their hash alone."""

    name: str
    path: Path


def unseen(new: Iterable[Content], known: Iterable[Content]) -> int:
    """Distinct documents of the ``new`` files that no ``known`` file holds.

    A document is a row of jsonl, csv, parquet or a JSON list, or the whole of any other file. Memory: some 100 bytes a
    new document; the known files are read as streams, and only until none is left to look for.

    Raises:
        InputProblem: every file that cannot be read to its end.
    """
    wanted: set[bytes] = set()
    problems: list[str] = []
    for content in new:
        try:
            wanted.update(_digests(content))
        except _unreadable() as error:
            problems.append(f"{content.name}: cannot be read to its end ({error}): replace or remove the file")
    if problems:
        raise InputProblem(problems)
    for content in known:
        if not wanted:
            break
        wanted.difference_update(_digests(content))
    return len(wanted)


def _unreadable() -> tuple[type[Exception], ...]:
    import pyarrow as pa

    return OSError, EOFError, ValueError, RecursionError, csv.Error, lzma.LZMAError, zlib.error, pa.ArrowException


def _digests(content: Content) -> Iterator[bytes]:
    for document in _documents(content):
        yield blake2b(document, digest_size=16).digest()


def _documents(content: Content) -> Iterator[bytes]:
    name = PurePosixPath(content.name.lower())
    kind = (PurePosixPath(name.stem) if name.suffix in _COMPRESSED else name).suffix
    with bounded.unpacked(content.path, name.suffix) as file:
        if kind in (".jsonl", ".ndjson"):
            yield from (line.strip() for line in bounded.lines(file) if line.strip())
        elif kind == ".csv":
            yield from _rows_of_csv(file)
        elif kind == ".parquet":
            yield from _rows_of_parquet(file, content.path)
        elif kind == ".json":
            yield from _rows_of_json(bounded.whole(file))
        else:
            yield bounded.whole(file)


def _rows_of_csv(file: IO[bytes]) -> Iterator[bytes]:
    csv.field_size_limit(sys.maxsize)
    text = (line.decode("utf-8", "surrogateescape") for line in bounded.lines(file))
    reader = csv.reader(line.removeprefix("\ufeff") if number == 0 else line for number, line in enumerate(text))
    next(reader, None)
    yield from (json.dumps(row).encode() for row in reader if row)


def _rows_of_parquet(file: IO[bytes], path: Path) -> Iterator[bytes]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    # Parquet is read from its end, so a compressed file is unpacked in memory.
    source = file if isinstance(file, io.BufferedReader) and file.seekable() else pa.BufferReader(bounded.whole(file))
    with pq.ParquetFile(source) as table:
        bounded.require_small_pages(table, path)
        for batch in table.iter_batches(batch_size=_BATCH):
            yield from (json.dumps(row, sort_keys=True, default=str).encode() for row in batch.to_pylist())


def _rows_of_json(text: bytes) -> Iterator[bytes]:
    body = json.loads(text)
    for row in body if isinstance(body, list) else [body]:
        yield json.dumps(row, sort_keys=True).encode()
