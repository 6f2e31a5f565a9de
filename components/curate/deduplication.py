"""Exact duplicates by content hash, near duplicates by MinHash signatures (rensa) in a locality-sensitive index."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from rensa import RMinHash

from components.curate.documents import taking_part
from components.curate.parameters import DeduplicationParameters

_WORD = re.compile(r"\w+")
# Four rows to a band find pairs down to a similarity of about 0.5; the signatures then decide.
ROWS_PER_BAND = 4
KEPT, EXACT, NEAR = 0, 1, 2


def shingles(text: str, words: int) -> set[str]:
    """Word n-grams of ``text`` in lower case; a shorter text is one shingle, a text without words its own."""
    found = _WORD.findall(text.lower())
    if len(found) <= words:
        return {" ".join(found) or text}
    return {" ".join(found[i : i + words]) for i in range(len(found) - words + 1)}


def signatures(texts: Sequence[str], parameters: DeduplicationParameters, seed: int) -> NDArray[np.uint32]:
    """MinHash values of the texts' shingles, ``[texts, permutations]``."""
    # A signature depends on neither the order nor the number of a shingle's occurrences.
    sets = [list(shingles(text, parameters.shingle_words)) for text in texts]
    found = RMinHash.digests_from_token_sets(sets, parameters.permutations, seed & 0xFFFFFFFF)
    return np.asarray(found, dtype=np.uint32).reshape(len(texts), parameters.permutations)


@dataclass(frozen=True)
class DuplicateDecisions:
    """What becomes of the documents that break no rule, which are numbered in stable order.

    Attributes:
        outcome: ``KEPT``, ``EXACT`` or ``NEAR`` (a duplicate), for each document; ``uint8``.
        of: number of the kept document that a duplicate repeats; of a kept one its own; ``int64``.
        similarity: estimated Jaccard similarity to that document; ``float32``.
        links: pairs of kept documents at least ``split_threshold`` alike, which must share a split; ``int64 [n, 2]``.
    """

    outcome: NDArray[np.uint8]
    of: NDArray[np.int64]
    similarity: NDArray[np.float32]
    links: NDArray[np.int64]


class Deduplicator:
    """Takes documents one by one and keeps the first of each kind.

    Memory: a signature (4 bytes a permutation) and its index entries per kept document, with 128 permutations 4.4 KB in
    all; texts are not held.

    Attributes:
        links: pairs of kept documents at least ``split_threshold`` alike.
    """

    def __init__(self, parameters: DeduplicationParameters):
        self._parameters = parameters
        self._count = 0
        self._exact: dict[str, int] = {}
        self._signatures: dict[int, NDArray[np.uint32]] = {}
        self._bands: list[dict[bytes, list[int]]] = [{} for _ in range(parameters.permutations // ROWS_PER_BAND)]
        self.links: list[tuple[int, int]] = []

    def add(self, identifier: str, signature: NDArray[np.uint32]) -> tuple[int, int, float]:
        """Outcome of the next document, number of the kept one that it is or repeats, similarity to that."""
        number, self._count = self._count, self._count + 1
        if identifier in self._exact:
            return EXACT, self._exact[identifier], 1.0
        content = signature.tobytes()
        keys = [content[at : at + 4 * ROWS_PER_BAND] for at in range(0, len(content), 4 * ROWS_PER_BAND)]
        others = {other for band, key in zip(self._bands, keys, strict=True) for other in band.get(key, ())}
        similar = [(float(np.mean(self._signatures[other] == signature)), -other) for other in others]
        best = max(similar, default=(0.0, 0))
        if best[0] >= self._parameters.threshold:
            self._exact[identifier] = -best[1]
            return NEAR, -best[1], best[0]
        self.links += sorted(
            (-other, number) for similarity, other in similar if similarity >= self._parameters.split_threshold
        )
        self._exact[identifier] = number
        self._signatures[number] = signature
        for band, key in zip(self._bands, keys, strict=True):
            band.setdefault(key, []).append(number)
        return KEPT, number, 1.0


def decide(judged: Iterable[Path], parameters: DeduplicationParameters, folder: Path) -> DuplicateDecisions:
    """Which documents of the judged files are kept: the first of its kind, in the order of the files.

    Args:
        judged: parquet files with the columns ``id``, ``rule`` (null: the document takes part) and ``signature``.
        folder: empty, for what does not fit into memory.
    """
    deduplicator = Deduplicator(parameters)
    found: list[tuple[int, int, float]] = []
    for batch in taking_part(judged, ["id", "signature"]):
        for identifier, signature in zip(batch["id"], batch["signature"], strict=True):
            values = np.frombuffer(signature.as_py(), dtype="<u4")
            found.append(deduplicator.add(identifier.as_py(), values))
    outcomes, of, similarities = zip(*found, strict=True) if found else ((), (), ())
    return DuplicateDecisions(
        np.array(outcomes, np.uint8),
        np.array(of, np.int64),
        np.array(similarities, np.float32),
        np.array(deduplicator.links, np.int64).reshape(-1, 2),
    )
