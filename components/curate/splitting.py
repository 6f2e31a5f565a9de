"""Train, validation and test: whole clusters of related documents, placed by the hash of their content.

Near-duplicates and siblings of one group form a cluster (union-find); a cluster goes to one split as a whole. Its place
is decided by the smallest content hash in it and the seed alone, so new data moves no cluster that it does not touch.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from components.curate.parameters import SplitParameters
from core.errors import InputProblem

SPLITS = ("train", "validation", "test")
# A cluster above this share of a held-out split's target would be most of it: it goes to train.
OUTSIZED = 0.2


class Clusters:
    """Union-find over the numbers 0 ... n-1, with path halving; the root is the smallest member."""

    def __init__(self, size: int):
        self._parents = list(range(size))

    def find(self, item: int) -> int:
        parents = self._parents
        while parents[item] != item:
            parents[item] = parents[parents[item]]
            item = parents[item]
        return item

    def join(self, one: int, other: int) -> None:
        low, high = sorted((self.find(one), self.find(other)))
        self._parents[high] = low


@dataclass(frozen=True)
class SplitAssignment:
    """The split of each document, and what is worth knowing of the clusters.

    Attributes:
        splits: split of each document, in order.
        clusters: number of clusters.
        largest_documents: documents in the largest cluster by text.
        largest_share: its share of all text.
        largest_groups: groups that it joins, commonest first, at most five.
        outsized: clusters sent to train because they would fill a held-out split.
    """

    splits: list[str]
    clusters: int
    largest_documents: int
    largest_share: float
    largest_groups: list[str]
    outsized: int


def divide(
    identifiers: Sequence[str],
    groups: Sequence[str],
    sizes: Sequence[int],
    links: Iterable[tuple[int, int]],
    parameters: SplitParameters,
    seed: int,
) -> SplitAssignment:
    """Place every document.

    Args:
        identifiers: content hash of each document.
        groups: group of each document; equal ones share a split.
        sizes: characters of each document; shares are measured in them.
        links: pairs of documents that must share a split.

    Raises:
        InputProblem: fewer clusters than splits.
    """
    clusters = Clusters(len(identifiers))
    first: dict[str, int] = {}
    for number, group in enumerate(groups):
        clusters.join(first.setdefault(group, number), number)
    for one, other in links:
        clusters.join(one, other)
    members: dict[int, list[int]] = {}
    for number in range(len(identifiers)):
        members.setdefault(clusters.find(number), []).append(number)

    shares = {"test": parameters.test, "validation": parameters.validation}
    wanted = [name for name, share in shares.items() if share]
    if len(members) <= len(wanted):
        raise InputProblem(
            f"curate.split: the corpus has {len(members)} independent group(s) of documents, too few for "
            f"{len(wanted) + 1} splits: add text, name a finer group_column, or set keep_files_together: false for a "
            "single text file"
        )
    weight = {root: sum(sizes[number] for number in numbers) for root, numbers in members.items()}
    total = sum(weight.values())
    place = {root: _unit(f"{seed}:{min(identifiers[n] for n in numbers)}") for root, numbers in members.items()}
    order = sorted(members, key=lambda root: (place[root], root))
    limit = OUTSIZED * total * min((share for share in shares.values() if share), default=0)
    small = [root for root in order if weight[root] <= limit]
    if len(small) <= len(wanted):
        small = order  # so few clusters that size cannot be respected
    pool = sum(weight[root] for root in small)
    chosen = dict.fromkeys(members, "train")
    # The pool without outsized clusters gives a larger share of itself, so that the shares of the whole come out.
    test_until = min(parameters.test * total / pool, 0.5)
    validation_until = test_until + min(parameters.validation * total / pool, 0.5 - test_until / 2)
    for root in small:
        if place[root] < test_until:
            chosen[root] = "test"
        elif place[root] < validation_until:
            chosen[root] = "validation"
    _fill_empty(chosen, small, wanted)

    largest = max(order, key=lambda root: (weight[root], -root))
    names = Counter(groups[number] for number in members[largest])
    return SplitAssignment(
        splits=[chosen[clusters.find(number)] for number in range(len(identifiers))],
        clusters=len(members),
        largest_documents=len(members[largest]),
        largest_share=weight[largest] / total if total else 0.0,
        largest_groups=[name for name, _ in sorted(names.items(), key=lambda item: (-item[1], item[0]))[:5]],
        outsized=len(order) - len(small),
    )


def _fill_empty(chosen: dict[int, str], order: Sequence[int], wanted: Sequence[str]) -> None:
    """With few clusters chance may leave a split empty: it takes one from the fullest, next in hash order."""
    for name in ("train", *wanted):
        if name in chosen.values():
            continue
        counts = Counter(chosen[root] for root in order)
        donor = max(counts, key=lambda split: (counts[split], split))
        chosen[next(root for root in order if chosen[root] == donor)] = name


def _unit(text: str) -> float:
    """A number in [0, 1) from the SHA-256 of ``text``."""
    return int(hashlib.sha256(text.encode()).hexdigest()[:13], 16) / 16**13
