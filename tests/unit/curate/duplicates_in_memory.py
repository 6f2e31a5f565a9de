"""The rule for duplicates as a few lines in memory: what the decisions on disk are held against."""

import numpy as np

from components.curate.deduplication.buckets import ROWS_PER_BAND
from components.curate.deduplication.decisions import EXACT, KEPT, NEAR
from components.curate.parameters import DeduplicationParameters


class Deduplicator:
    """Takes documents one by one and keeps the first of each kind.

    Attributes:
        links: pairs of kept documents at least ``split_threshold`` alike.
    """

    def __init__(self, parameters: DeduplicationParameters, representatives: int = 1 << 30):
        self._parameters, self._representatives = parameters, representatives
        self._count = 0
        self._exact: dict[str, int] = {}
        self._signatures: dict[int, np.ndarray] = {}
        self._bands: list[dict[bytes, list[int]]] = [{} for _ in range(parameters.permutations // ROWS_PER_BAND)]
        self.links: list[tuple[int, int]] = []

    def add(self, identifier: str, signature: np.ndarray) -> tuple[int, int, float]:
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
            bucket = band.setdefault(key, [])
            if len(bucket) < self._representatives:
                bucket.append(number)
        return KEPT, number, 1.0
