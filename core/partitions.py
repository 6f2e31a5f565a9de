"""Records divided among files, so that those that belong together can be looked at a file at a time."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

Array = np.ndarray[Any, Any]


class Partitions:
    """Records in numbered files, each in the order in which they were added; a file is read once, and removed."""

    def __init__(self, folder: Path, dtype: DTypeLike):
        folder.mkdir()
        self._folder, self._dtype = folder, np.dtype(dtype)

    def add(self, records: Array, parts: NDArray[np.integer]) -> None:
        """Append each record to the file of its part."""
        if not len(records):
            return
        parts = parts.astype(np.min_scalar_type(parts.max()))  # numpy sorts numbers of two bytes by their digits
        order = np.argsort(parts, kind="stable")
        records, parts = records[order], parts[order]
        edges = [0, *(np.flatnonzero(parts[1:] != parts[:-1]) + 1).tolist(), len(parts)]
        for begin, end in pairwise(edges):
            with open(self._path(int(parts[begin])), "ab") as file:
                file.write(records[begin:end].tobytes())

    def take(self, part: int) -> Array:
        """The records of a part, which are then gone."""
        path = self._path(part)
        if not path.exists():
            return np.empty(0, self._dtype)
        records = np.fromfile(path, self._dtype)
        path.unlink()
        return records

    def blocks(self, part: int, most: int) -> Iterator[Array]:
        """The records of a part, ``most`` at a time; the part is gone when the last was given."""
        path = self._path(part)
        if not path.exists():
            return
        with open(path, "rb") as file:
            while len(records := np.fromfile(file, self._dtype, most)):
                yield records
        path.unlink()

    def _path(self, part: int) -> Path:
        return self._folder / str(part)
