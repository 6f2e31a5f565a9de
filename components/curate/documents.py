"""A document on its way through curation, and the corpus on disk: few large parquet files a split, as a stream."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from core.errors import InputProblem

FIELDS = ("text", "source", "kind", "group", "license", "origin")
"""Columns of a document on its way."""
COLUMNS = ("id", *FIELDS)
SCHEMA = pa.schema([(name, pa.string()) for name in COLUMNS])
ROW_GROUP = 4096  # documents


@dataclass(frozen=True, slots=True)
class Document:
    """A text and where it is from.

    Attributes:
        text: the text itself.
        source: name of the source: python_docs, files, or the dataset's id.
        kind: docstring, comment, topic, c_doc, file, row, page (of a web archive), code: and a programming language.
        group: siblings share it (a module, a file); a split never divides them.
        license: SPDX identifier where known.
        origin: qualified name, path and row, or URL.
    """

    text: str
    source: str
    kind: str
    group: str
    license: str
    origin: str

    def with_text(self, text: str) -> Document:
        return replace(self, text=text)

    def row(self) -> dict[str, str]:
        """The document as a row of the corpus."""
        return {
            "id": identifier(self.text),
            "text": self.text,
            "source": self.source,
            "kind": self.kind,
            "group": self.group,
            "license": self.license,
            "origin": self.origin,
        }


def identifier(text: str) -> str:
    """Content hash of a text: 32 hexadecimal digits of its SHA-256."""
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:32]


def taking_part(judged: Iterable[Path], columns: Sequence[str]) -> Iterator[pa.RecordBatch]:
    """The documents of judged files that break no rule, in order, in batches of these columns (and ``rule``).

    Raises:
        InputProblem: a file is damaged.
    """
    for path in judged:
        try:
            with pq.ParquetFile(path, page_checksum_verification=True) as file:
                for batch in file.iter_batches(ROW_GROUP, columns=[*columns, "rule"]):
                    yield batch.filter(pc.is_null(batch["rule"]))
        except (OSError, pa.ArrowException) as error:
            raise InputProblem(f"{path}: is damaged ({error}): remove it, and run the stage again") from error


class ShardWriter:
    """Writes rows of one split to ``<split>-00000-of-0000N.parquet``, a new shard every ``megabytes`` of text.

    Use as a context manager; the names get their N when it closes. ``extra``: columns that not every corpus has; a row
    without them has null there.
    """

    def __init__(self, folder: Path, split: str, megabytes: float, extra: Iterable[pa.Field] = ()):
        self._schema = pa.schema([*SCHEMA, *extra])
        self._folder, self._split, self._limit = folder, split, megabytes * 1e6
        self._rows: list[dict[str, Any]] = []
        self._paths: list[Path] = []
        self._writer: pq.ParquetWriter | None = None
        self._shard_bytes = 0
        self._digest = hashlib.sha256()
        self.documents, self.bytes = 0, 0
        self.files: list[str] = []

    @property
    def digest(self) -> str:
        """SHA-256 over the content hashes of the documents, in order."""
        return self._digest.hexdigest()

    def write(self, row: dict[str, Any]) -> None:
        size = len(row["text"].encode())
        if self._shard_bytes and self._shard_bytes + size > self._limit:
            self._finish_shard()
        self._rows.append(row)
        self._shard_bytes += size
        self.documents += 1
        self.bytes += size
        self._digest.update(f"{row['id']}\n".encode())
        if len(self._rows) >= ROW_GROUP:
            self._flush()

    def write_empty(self) -> None:
        """A shard without rows, where there is no text: so the corpus says that it is empty, rather than missing."""
        self.files.append(f"{self._split}-00000-of-00001.parquet")
        pq.write_table(self._schema.empty_table(), self._folder / self.files[-1], compression="zstd")

    def __enter__(self) -> ShardWriter:
        return self

    def __exit__(self, failed: object, *_: object) -> None:
        self._finish_shard()
        if failed:
            return
        for index, path in enumerate(self._paths):
            name = f"{self._split}-{index:05d}-of-{len(self._paths):05d}.parquet"
            path.rename(self._folder / name)
            self.files.append(name)

    def _flush(self) -> None:
        if not self._rows:
            return
        if self._writer is None:
            self._paths.append(self._folder / f"{self._split}-{len(self._paths):05d}.partial")
            self._writer = pq.ParquetWriter(self._paths[-1], self._schema, compression="zstd")
        self._writer.write_table(pa.Table.from_pylist(self._rows, schema=self._schema))
        self._rows = []

    def _finish_shard(self) -> None:
        self._flush()
        if self._writer is not None:
            self._writer.close()
            self._writer = None
        self._shard_bytes = 0
