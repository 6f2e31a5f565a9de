"""Which documents came, went, changed or moved between two corpora.

Two documents are the same if their content hashes are; one *changed* if it has another text under the same source and
origin; it *moved* if it is in another split. A text that is there several times is counted so often.

Hashes of all documents are divided by their first bits into files of bounded size, and compared file by file, so memory
does not grow with the corpora (48 bytes a document on the disk meanwhile).
"""

from __future__ import annotations

import hashlib
import tempfile
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from components.corpora.shards import Corpus
from core.errors import InputProblem
from core.partitions import Partitions

IN_MEMORY = 250_000  # documents of either corpus that are compared at a time
MOST_SOURCES = 1000
_RECORD = np.dtype([("id", "S16"), ("key", "S16"), ("number", "<i8"), ("split", "<u2"), ("source", "<u2")])
Records = NDArray[Any]


@dataclass
class CorpusDifference:
    """What differs.

    Attributes:
        documents: of either corpus.
        same: documents with the same text in the same split.
        came, went, changed, moved: how many.
        by_split, by_source: how many of each kind by name; changed and moved ones count where they are now.
        samples: of each of the four, pairs of rows (before, after), ``None`` on the side that has none.
    """

    documents: tuple[int, int]
    same: int = 0
    came: int = 0
    went: int = 0
    changed: int = 0
    moved: int = 0
    by_split: dict[str, dict[str, int]] = field(default_factory=dict)
    by_source: dict[str, dict[str, int]] = field(default_factory=dict)
    samples: dict[str, list[tuple[dict[str, Any] | None, dict[str, Any] | None]]] = field(default_factory=dict)


def difference(a: Corpus, b: Corpus, count: int, seed: int = 0) -> CorpusDifference:
    """Compare two corpora.

    Args:
        count: samples of each kind of difference.
        seed: for other samples.
    """
    buckets = max(1, -(-max(a.documents, b.documents) // IN_MEMORY))
    splits, sources = list(dict.fromkeys([*a.splits, *b.splits])), list[str]()
    tally = _Tally(CorpusDifference((a.documents, b.documents)), splits, sources, count, seed)
    with tempfile.TemporaryDirectory(prefix="stemma-diff-") as name:
        folder = Path(name)
        texts, origins = ([Partitions(folder / f"{by}-{side}", _RECORD) for side in (0, 1)] for by in ("id", "key"))
        for files, corpus in zip(texts, (a, b), strict=True):
            for records in _records(corpus, splits, sources):
                files.add(records, _bucket(records["id"], buckets))
        for bucket in range(buckets):
            one, other = (files.take(bucket) for files in texts)
            i, j = _pairs(one["id"], other["id"])
            stays = one["split"][i] == other["split"][j]
            tally.result.same += int(stays.sum())
            tally.add("moved", one[i[~stays]], other[j[~stays]])
            for files, rest in zip(origins, (np.delete(one, i), np.delete(other, j)), strict=True):
                files.add(rest, _bucket(rest["key"], buckets))
        for bucket in range(buckets):
            # In the order of the corpora: which of equal ones are paired depends on nothing else.
            one, other = (np.sort(files.take(bucket), order="number") for files in origins)
            i, j = _pairs(one["key"], other["key"])
            tally.add("changed", one[i], other[j])
            tally.add("went", np.delete(one, i), None)
            tally.add("came", None, np.delete(other, j))
    return tally.finish(a, b)


class _Tally:
    """Counts differences, and keeps of each kind those with the smallest hashes."""

    def __init__(self, result: CorpusDifference, splits: list[str], sources: list[str], count: int, seed: int):
        self.result, self._splits, self._sources, self._count = result, splits, sources, count
        mixed = hashlib.blake2b(str(seed).encode(), digest_size=8).digest()
        self._mask = np.frombuffer(mixed, "<u8")[0]
        self._picked: dict[str, Records] = {}
        self._by = (Counter[tuple[str, int]](), Counter[tuple[str, int]]())

    def add(self, kind: str, before: Records | None, after: Records | None) -> None:
        records = after if after is not None else before
        assert records is not None
        setattr(self.result, kind, getattr(self.result, kind) + len(records))
        for counter, name in zip(self._by, ("split", "source"), strict=True):
            for value, times in zip(*np.unique(records[name], return_counts=True), strict=True):
                counter[kind, int(value)] += int(times)
        order = np.ascontiguousarray(records["id"]).view("<u8")[::2] ^ self._mask
        found = np.zeros(len(records), [("order", "<u8"), ("before", "<i8"), ("after", "<i8")])
        found["order"] = order
        found["before"] = -1 if before is None else before["number"]
        found["after"] = -1 if after is None else after["number"]
        found = np.concatenate([self._picked.get(kind, found[:0]), found])
        self._picked[kind] = np.sort(found)[: self._count]

    def finish(self, a: Corpus, b: Corpus) -> CorpusDifference:
        for counter, names, target in zip(
            self._by, (self._splits, self._sources), (self.result.by_split, self.result.by_source), strict=True
        ):
            for (kind, value), times in sorted(counter.items(), key=lambda item: (-item[1], item[0])):
                target.setdefault(names[value], {})[kind] = times
        rows_a = a.rows([int(n) for found in self._picked.values() for n in found["before"] if n >= 0])
        rows_b = b.rows([int(n) for found in self._picked.values() for n in found["after"] if n >= 0])
        for kind in ("came", "went", "changed", "moved"):
            self.result.samples[kind] = [
                (rows_a.get(int(each["before"])), rows_b.get(int(each["after"]))) for each in self._picked.get(kind, ())
            ]
        return self.result


def _records(corpus: Corpus, splits: list[str], sources: list[str]) -> Iterator[Records]:
    codes = {name: code for code, name in enumerate(sources)}
    for part in corpus.slices(["id", "source", "origin"]):
        rows = part.batch.to_pylist()
        found = np.zeros(len(rows), _RECORD)
        found["number"] = np.arange(part.first, part.first + len(rows))
        found["split"] = splits.index(part.split)
        for place, row in enumerate(rows):
            source = row.get("source") or "-"
            if source not in codes and len(codes) < MOST_SOURCES:
                codes[source] = len(codes)
                sources.append(source)
            elif source not in codes:
                raise InputProblem(f"{corpus.name} has more than {MOST_SOURCES} sources, which are not compared")
            found["source"][place] = codes[source]
            found["id"][place] = _hash(row["id"])
            # A document that has no origin is none that can be met again.
            found["key"][place] = _hash(f"{source}\0{row.get('origin') or row['id']}")
        yield found


def _bucket(hashes: NDArray[Any], buckets: int) -> NDArray[np.int64]:
    """Which of so many files each hash belongs to."""
    return (np.ascontiguousarray(hashes).view("<u8")[1::2] % np.uint64(buckets)).astype(np.int64)


def _hash(text: str) -> bytes:
    return hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16).digest()


def _pairs(one: NDArray[Any], other: NDArray[Any]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Places of equal values in both; of a value that is there several times the first with the first, and so on."""
    _, i, j = np.intersect1d(_counted(one), _counted(other), assume_unique=True, return_indices=True)
    return i, j


def _counted(values: NDArray[Any]) -> NDArray[Any]:
    """The values, each with how many equal ones stand before it, which makes it unique (``S20``)."""
    order = np.argsort(values, kind="stable")
    ordered = values[order]
    begins = np.ones(len(values), bool)
    begins[1:] = ordered[1:] != ordered[:-1]
    places = np.arange(len(values))
    times = places - np.maximum.accumulate(np.where(begins, places, 0))
    found = np.zeros(len(values), [("value", "S16"), ("time", "<u4")])
    found["value"], found["time"][order] = values, times
    return found.view("S20")
