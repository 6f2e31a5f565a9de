"""Train, validation and test: whole clusters of related documents, placed by the hash of their content.

Near-duplicates and siblings of one group form a cluster (union-find); a cluster goes to one split as a whole. Its place
is decided by the smallest content hash in it and the seed alone, so new data moves no cluster that it does not touch.

What is known of each document and each cluster is on disk; memory holds a block of it at a time.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from components.curate.deduplication.disk import Array, emptied, on_disk, release
from components.curate.parameters import SplitParameters
from core.errors import InputProblem

SPLITS = ("train", "validation", "test")
NONE = 255  # number of the split of a document that is in none
# A cluster above this share of a held-out split's target would be most of it: it goes to train.
OUTSIZED = 0.2
WORTH_COMPILING = 200_000  # documents: joining so many takes longer than loading numba
_BLOCK = 1 << 16


@dataclass(frozen=True)
class SplitAssignment:
    """The split of each document, and what is worth knowing of the clusters.

    Attributes:
        splits: number in :data:`SPLITS` of the split of each document, or :data:`NONE`; ``uint8``.
        roots: the first document of each one's cluster; ``uint32``.
        clusters: number of clusters.
        largest: root of the largest cluster by text.
        largest_documents: documents in it.
        largest_share: its share of all text.
        outsized: clusters sent to train because they would fill a held-out split.
    """

    splits: NDArray[np.uint8]
    roots: NDArray[np.uint32]
    clusters: int
    largest: int
    largest_documents: int
    largest_share: float
    outsized: int


@dataclass(frozen=True)
class _Clusters:
    """What is known of each cluster, at the number of its root.

    Attributes:
        members: documents in it; 0 where no cluster has its root.
        weight: characters in it.
        lowest: its document with the smallest content hash.
        place: where the hash of that puts it, in [0, 1).
        chosen: number of its split.
    """

    members: NDArray[np.uint32]
    weight: NDArray[np.int64]
    lowest: NDArray[np.uint32]
    place: NDArray[np.float64]
    chosen: NDArray[np.uint8]

    def roots(self) -> Iterator[NDArray[np.int64]]:
        """All roots, in order, in blocks."""
        for begin in range(0, len(self.members), _BLOCK):
            yield begin + np.flatnonzero(self.members[begin : begin + _BLOCK])
            release(self.members, self.weight, self.lowest, self.place, self.chosen)


def divide(
    identifiers: NDArray[np.uint64],
    groups: NDArray[np.uint32],
    sizes: NDArray[np.uint32],
    taking: NDArray[np.uint8],
    links: NDArray[np.uint32],
    parameters: SplitParameters,
    seed: int,
    folder: Path,
) -> SplitAssignment:
    """Place every document that takes part.

    On disk 41 bytes a document, 5 of which stay.

    Args:
        identifiers: content hash of each document, ``[n, 2]``.
        groups: the first document of each one's group; documents of one group share a split.
        sizes: characters of each document; shares are measured in them.
        taking: 1 for each document that takes part.
        links: pairs of documents that must share a split, ``[pairs, 2]``.
        folder: removed if it is there; holds the arrays of the result.

    Raises:
        InputProblem: fewer clusters than splits.
    """
    folder, count = emptied(folder), len(identifiers)
    roots = on_disk(folder / "roots", count, np.uint32)
    found = _Clusters(
        on_disk(folder / "members", count, np.uint32),
        on_disk(folder / "weight", count, np.int64),
        on_disk(folder / "lowest", count, np.uint32),
        on_disk(folder / "place", count, np.float64),
        on_disk(folder / "chosen", count, np.uint8),
    )
    first = on_disk(folder / "first", count, np.uint32)
    join = _join_compiled() if count >= WORTH_COMPILING else _join
    join(roots, first, identifiers, groups, sizes, taking, links, found.members, found.weight, found.lowest)
    clusters = sum(len(block) for block in found.roots())
    splits = on_disk(folder / "splits", count, np.uint8)
    if not clusters:
        splits[:] = NONE
        return SplitAssignment(splits, roots, 0, 0, 0, 0.0, 0)
    outsized = _choose(found, clusters, identifiers, parameters, seed)
    for begin in range(0, count, _BLOCK):
        end = begin + _BLOCK
        splits[begin:end] = np.where(taking[begin:end] == 1, found.chosen[roots[begin:end]], NONE)
        release(splits, roots, taking, found.chosen)
    largest, heaviest, total = 0, -1, 0
    for block in found.roots():
        weights = found.weight[block]
        total += int(weights.sum())
        if len(block) and weights.max() > heaviest:
            largest, heaviest = int(block[np.argmax(weights)]), int(weights.max())
    result = SplitAssignment(
        splits, roots, clusters, largest, int(found.members[largest]), heaviest / total if total else 0.0, outsized
    )
    for name in ("members", "weight", "lowest", "place", "chosen", "first"):
        (folder / name).unlink(missing_ok=True)
    return result


def _choose(
    found: _Clusters, clusters: int, identifiers: NDArray[np.uint64], parameters: SplitParameters, seed: int
) -> int:
    """Choose the split of every cluster; how many are too large for another than train."""
    shares = {"test": parameters.test, "validation": parameters.validation}
    wanted = [name for name, share in shares.items() if share]
    if clusters <= len(wanted):
        raise InputProblem(
            f"curate.split: the corpus has {clusters} independent group(s) of documents, too few for "
            f"{len(wanted) + 1} splits: add text, name a finer group_column, or set keep_files_together: false for a "
            "single text file"
        )
    total = sum(int(found.weight[block].sum()) for block in found.roots())
    limit = OUTSIZED * total * min((share for share in shares.values() if share), default=0)
    small = sum(int((found.weight[block] <= limit).sum()) for block in found.roots())
    if small <= len(wanted):
        small, limit = clusters, total  # so few clusters that size cannot be respected
    pool = sum(int(found.weight[block][found.weight[block] <= limit].sum()) for block in found.roots())
    # The pool without outsized clusters gives a larger share of itself, so that the shares of the whole come out.
    test_until = min(parameters.test * total / pool, 0.5)
    validation_until = test_until + min(parameters.validation * total / pool, 0.5 - test_until / 2)
    test, validation = SPLITS.index("test"), SPLITS.index("validation")
    for block in found.roots():
        place = np.array([_unit(seed, pair) for pair in identifiers[found.lowest[block]].tolist()])
        found.place[block] = place
        is_small = found.weight[block] <= limit
        found.chosen[block[is_small & (place < validation_until)]] = validation
        found.chosen[block[is_small & (place < test_until)]] = test
    _fill_empty(found, limit, wanted)
    return clusters - small


def _fill_empty(found: _Clusters, limit: float, wanted: Sequence[str]) -> None:
    """With few clusters chance may leave a split empty: it takes one from the fullest, next in hash order."""
    for name in ("train", *wanted):
        everywhere, counts = Counter[str](), Counter[str]()
        for block in found.roots():
            for split, number in enumerate(np.bincount(found.chosen[block], minlength=len(SPLITS)).tolist()):
                everywhere[SPLITS[split]] += number
            small = found.chosen[block][found.weight[block] <= limit]
            for split, number in enumerate(np.bincount(small, minlength=len(SPLITS)).tolist()):
                counts[SPLITS[split]] += number
        if everywhere[name]:
            continue
        donor = max(counts, key=lambda split: (counts[split], split))
        next_: tuple[float, int] | None = None
        for block in found.roots():
            giving = block[(found.weight[block] <= limit) & (found.chosen[block] == SPLITS.index(donor))]
            if len(giving):
                root = giving[np.argmin(found.place[giving])]
                next_ = min(next_ or (2.0, 0), (float(found.place[root]), int(root)))
        assert next_ is not None  # the fullest split is not empty
        found.chosen[next_[1]] = SPLITS.index(name)


def _unit(seed: int, identifier: Sequence[int]) -> float:
    """A number in [0, 1) from the SHA-256 of the seed and a content hash."""
    text = f"{seed}:{identifier[0]:016x}{identifier[1]:016x}"
    return int(hashlib.sha256(text.encode()).hexdigest()[:13], 16) / 16**13


@cache
def _join_compiled() -> Callable[..., Any]:
    from components.curate.text.code_points import compiled

    return compiled(_join)


def _join(
    roots: Array, first: Array, identifiers: Array, groups: Array, sizes: Array, taking: Array, links: Array,
    members: Array, weight: Array, lowest: Array,
) -> None:  # fmt: skip
    """Fill ``roots`` with the first document of each one's cluster (union-find, the smaller root wins, with path
    halving), and the last three with what is known of the clusters.

    ``first`` is room for the first document of each group that takes part, counted from 1.
    """
    pairs = len(links)
    for number in range(len(roots)):
        roots[number] = number
    for step in range(pairs + len(roots)):
        if step < pairs:
            one, other = links[step, 0], links[step, 1]
            if not (taking[one] and taking[other]):
                continue
        else:
            other = np.uint32(step - pairs)
            if not taking[other]:
                continue
            group = groups[other]
            if first[group] == 0:
                first[group] = other + np.uint32(1)
                continue
            one = first[group] - np.uint32(1)
        while roots[one] != one:
            roots[one] = roots[roots[one]]
            one = roots[one]
        while roots[other] != other:
            roots[other] = roots[roots[other]]
            other = roots[other]
        if one < other:
            roots[other] = one
        else:
            roots[one] = other
    for number in range(len(roots)):
        if not taking[number]:
            continue
        # The root is the smallest member, so it comes first, and so does what lies between.
        root = roots[roots[number]]
        roots[number] = root
        members[root] += 1
        weight[root] += sizes[number]
        best = lowest[root]
        if members[root] == 1 or (
            identifiers[number, 0] < identifiers[best, 0]
            or (identifiers[number, 0] == identifiers[best, 0] and identifiers[number, 1] < identifiers[best, 1])
        ):
            lowest[root] = number
