"""Packed token shards: flat little-endian integers, documents separated by the end token, and an index beside them."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any, BinaryIO, TypedDict

import numpy as np
from numpy.typing import NDArray


def dtype_for(vocabulary: int) -> np.dtype[Any]:
    """The smallest of uint16 and uint32 that holds every id."""
    return np.dtype("<u2") if vocabulary <= 1 << 16 else np.dtype("<u4")


class TokenShard(TypedDict):
    """A file of the index."""

    file: str
    tokens: int
    documents: int


class SplitEntry(TypedDict):
    """A split's entry of the index."""

    shards: list[TokenShard]
    tokens: int
    documents: int
    bytes: int


class TokenShardWriter:
    """Writes one split as ``<split>-00000.bin``, ``<split>-00001.bin`` ...

    Documents are appended whole; a new file begins once the current one holds ``shard_tokens``.
    """

    def __init__(self, folder: Path, split: str, *, dtype: np.dtype[Any], shard_tokens: int):
        self._folder, self._split, self._dtype = folder, split, dtype
        self._shard_tokens = shard_tokens
        self._file: BinaryIO | None = None
        self._shards: list[TokenShard] = []
        self.bytes = 0

    def add(self, ids: NDArray[Any], lengths: NDArray[np.int64], bytes_: int) -> None:
        """Append documents: the ids of all, how many each has, and the bytes of UTF-8 of their texts together."""
        self.bytes += bytes_
        ends = np.cumsum(lengths)
        ids = ids.astype(self._dtype, copy=False)
        first = written = 0
        while first < len(ends):
            file = self._file or self._open()
            shard = self._shards[-1]
            room = self._shard_tokens - shard["tokens"]
            last = min(int(np.searchsorted(ends, written + room)), len(ends) - 1)
            file.write(ids[written : ends[last]].data)
            shard["tokens"] += int(ends[last]) - written
            shard["documents"] += last + 1 - first
            first, written = last + 1, int(ends[last])
            if shard["tokens"] >= self._shard_tokens:
                self._close()

    def finish(self) -> SplitEntry:
        """Close the last file; the split's entry of the index."""
        self._close()
        return {
            "shards": self._shards,
            "tokens": sum(shard["tokens"] for shard in self._shards),
            "documents": sum(shard["documents"] for shard in self._shards),
            "bytes": self.bytes,
        }

    def _open(self) -> BinaryIO:
        name = f"{self._split}-{len(self._shards):05d}.bin"
        self._file = open(self._folder / name, "wb", buffering=1 << 20)
        self._shards.append({"file": name, "tokens": 0, "documents": 0})
        return self._file

    def _close(self) -> None:
        if self._file is not None:
            self._file.flush()
            os.fsync(self._file.fileno())
            self._file.close()
            self._file = None


def write_index(
    folder: Path, *, dtype: np.dtype[Any], vocabulary: int, end: int, splits: dict[str, SplitEntry]
) -> None:
    """Write ``index.json``; its presence says that the shards are whole."""
    index = {"dtype": dtype.name, "vocab_size": vocabulary, "eos_token_id": end, "splits": splits}
    (folder / "index.json").write_text(json.dumps(index, indent=1) + "\n")
