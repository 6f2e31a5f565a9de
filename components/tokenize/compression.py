"""Bytes per token, and how sure of it a sample of documents makes us."""

from __future__ import annotations

import math
from dataclasses import dataclass


@dataclass
class Compression:
    """Running sums over documents of ``bytes`` and ``tokens`` (separators not counted)."""

    documents: int = 0
    bytes: int = 0
    tokens: int = 0
    _bytes_squared: int = 0
    _tokens_squared: int = 0
    _product: int = 0

    def add(self, bytes_: int, tokens: int) -> None:
        """Count one document."""
        self.documents += 1
        self.bytes += bytes_
        self.tokens += tokens
        self._bytes_squared += bytes_ * bytes_
        self._tokens_squared += tokens * tokens
        self._product += bytes_ * tokens

    @property
    def bytes_per_token(self) -> float:
        return self.bytes / max(1, self.tokens)

    @property
    def stderr(self) -> float | None:
        """Standard error over documents of the ratio of sums, by linearisation (Cochran 1977, 2.11)."""
        if self.documents < 2 or not self.tokens:
            return None
        ratio = self.bytes_per_token
        squares = self._bytes_squared - 2 * ratio * self._product + ratio * ratio * self._tokens_squared
        return math.sqrt(max(0.0, squares) * self.documents / (self.documents - 1)) / self.tokens
