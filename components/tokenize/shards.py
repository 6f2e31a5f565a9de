"""Packed token shards: flat little-endian integers, documents separated by the end token, and an index beside them."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any, BinaryIO, NotRequired, TypedDict

import numpy as np
from numpy.typing import NDArray


def dtype_for(vocabulary: int) -> np.dtype[Any]:
    """The smallest of uint16 and uint32 that holds every id."""
    return np.dtype("<u2") if vocabulary <= 1 << 16 else np.dtype("<u4")


class TokenShard(TypedDict):
    """A file of the index; of a split packed by best fit, ``documents`` is its number of sequences."""

    file: str
    tokens: int
    documents: int


class SplitEntry(TypedDict):
    """A split's entry of the index; the last three are those of a split packed by best fit.

    Attributes:
        tokens: in all shards, separators and padding included.
        bytes: of the documents' UTF-8.
        sequences: number of training sequences.
        documents_divided: documents longer than a sequence.
        padding: tokens of padding.
    """

    shards: list[TokenShard]
    tokens: int
    documents: int
    bytes: int
    sequences: NotRequired[int]
    documents_divided: NotRequired[int]
    padding: NotRequired[int]


class TokenShardWriter:
    """Writes one split as ``<split>-00000.bin``, ``<split>-00001.bin`` ...

    Documents are appended whole; a new file begins once the current one holds ``shard_tokens``.

    Args:
        first: a token that each file begins with.
    """

    def __init__(self, folder: Path, split: str, *, dtype: np.dtype[Any], shard_tokens: int, first: int | None = None):
        self._folder, self._split, self._dtype, self._first = folder, split, dtype, first
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
        if self._first is not None:
            self._shards[-1]["tokens"] += (
                self._file.write(self._dtype.type(self._first).tobytes()) // self._dtype.itemsize
            )
        return self._file

    def _close(self) -> None:
        if self._file is not None:
            self._file.flush()
            os.fsync(self._file.fileno())
            self._file.close()
            self._file = None


def write_index(
    folder: Path,
    *,
    dtype: np.dtype[Any],
    vocabulary: int,
    end: int,
    splits: dict[str, SplitEntry],
    start: int | None = None,
    seq_length: int | None = None,
) -> None:
    """Write ``index.json``; its presence says that the shards are whole.

    Args:
        start: the token that every document begins with.
        seq_length: inputs of a sequence of the training split, where best fit packed it.
    """
    more = {name: value for name, value in (("bos_token_id", start), ("seq_length", seq_length)) if value is not None}
    index = {"dtype": dtype.name, "vocab_size": vocabulary, "eos_token_id": end, **more, "splits": splits}
    (folder / "index.json").write_text(json.dumps(index, indent=1) + "\n")
