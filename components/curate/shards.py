"""The corpus on disk: few large parquet files a split, written as a stream."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from components.curate.documents import COLUMNS

SCHEMA = pa.schema([(name, pa.string()) for name in COLUMNS])
ROW_GROUP = 4096  # documents


class ShardWriter:
    """Writes rows of one split to ``<split>-00000-of-0000N.parquet``, a new shard every ``megabytes`` of text.

    Use as a context manager; the names get their N when it closes.
    """

    def __init__(self, folder: Path, split: str, megabytes: float):
        self._folder, self._split, self._limit = folder, split, megabytes * 1e6
        self._rows: list[dict[str, str]] = []
        self._paths: list[Path] = []
        self._writer: pq.ParquetWriter | None = None
        self._shard_bytes = 0
        self._digest = hashlib.sha256()
        self.documents, self.bytes, self.files = 0, 0, []

    @property
    def digest(self) -> str:
        """SHA-256 over the content hashes of the documents, in order."""
        return self._digest.hexdigest()

    def write(self, row: dict[str, str]) -> None:
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
            self._writer = pq.ParquetWriter(self._paths[-1], SCHEMA, compression="zstd")
        self._writer.write_table(pa.Table.from_pylist(self._rows, schema=SCHEMA))
        self._rows = []

    def _finish_shard(self) -> None:
        self._flush()
        if self._writer is not None:
            self._writer.close()
            self._writer = None
        self._shard_bytes = 0
