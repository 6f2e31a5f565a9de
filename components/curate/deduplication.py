"""Exact duplicates by content hash, near duplicates by MinHash signatures in a locality-sensitive index (rensa)."""

from __future__ import annotations

import re
from dataclasses import dataclass

from rensa import RMinHash, RMinHashLSH

from components.curate.documents import identifier
from components.curate.parameters import DeduplicationParameters

_WORD = re.compile(r"\w+")
# Four rows to a band find pairs down to a similarity of about 0.5; the signatures then decide.
ROWS_PER_BAND = 4


def shingles(text: str, words: int) -> set[str]:
    """Word n-grams of ``text`` in lower case; a shorter text is one shingle, a text without words its own."""
    found = _WORD.findall(text.lower())
    if len(found) <= words:
        return {" ".join(found) or text}
    return {" ".join(found[i : i + words]) for i in range(len(found) - words + 1)}


@dataclass(frozen=True, slots=True)
class Match:
    """What the index says of a document.

    Attributes:
        rule: ``exact_duplicate``, ``near_duplicate`` or ``None`` for a text that is new.
        of: number of the kept document it repeats, or its own number when it is new.
        similarity: estimated Jaccard similarity to that document.
    """

    rule: str | None
    of: int
    similarity: float


class Deduplicator:
    """Takes documents one by one and keeps the first of each kind.

    Memory: a signature (4 bytes a permutation) and its index entries per kept document, with 128 permutations 4.4 KB in
    all; texts are not held.

    Attributes:
        links: pairs of kept documents at least ``split_threshold`` alike, which must share a split.
    """

    def __init__(self, parameters: DeduplicationParameters, seed: int):
        self._parameters, self._seed = parameters, seed
        self._exact: dict[str, int] = {}
        self._signatures: list[RMinHash] = []
        bands = parameters.permutations // ROWS_PER_BAND
        self._index = RMinHashLSH(parameters.split_threshold, parameters.permutations, bands)
        self.links: list[tuple[int, int]] = []

    def add(self, text: str) -> Match:
        """Judge ``text``; when it is new, remember it under the next number."""
        key = identifier(text)
        if key in self._exact:
            return Match("exact_duplicate", self._exact[key], 1.0)
        signature = RMinHash(self._parameters.permutations, self._seed & 0xFFFFFFFF)
        # Sorted, since the order of a set of strings differs from process to process.
        signature.update(sorted(shingles(text, self._parameters.shingle_words)))
        similar = [(self._signatures[other].jaccard(signature), -other) for other in self._index.query(signature)]
        best = max(similar, default=(0.0, 0))
        if best[0] >= self._parameters.threshold:
            self._exact[key] = -best[1]
            return Match("near_duplicate", -best[1], best[0])
        number = len(self._signatures)
        self.links += sorted(
            (-other, number) for similarity, other in similar if similarity >= self._parameters.split_threshold
        )
        self._exact[key] = number
        self._signatures.append(signature)
        self._index.insert(number, signature)
        return Match(None, number, 1.0)
