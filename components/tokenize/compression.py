"""Bytes and words per token, of the corpus and of its parts, and how sure of it a sample of documents makes us."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from components.tokenize.corpus import GROUPS, numbers

CUT_AT = (128, 512, 2048, 8192)  # lengths of sequences for which the report says how much is cut
# Languages (ISO 639) that are written without spaces between words: tokens per word would say nothing.
_WITHOUT_SPACES = frozenset(("zh", "yue", "wuu", "lzh", "ja", "th", "lo", "my", "km", "bo", "dz"))


@dataclass
class Compression:
    """Running sums over documents of ``bytes``, ``tokens`` and ``words`` (separators not counted)."""

    documents: int = 0
    bytes: int = 0
    tokens: int = 0
    words: int = 0
    _bytes_squared: int = 0
    _tokens_squared: int = 0
    _product: int = 0

    def add(self, bytes_: NDArray[np.int64], tokens: NDArray[np.int64], words_: NDArray[np.int64]) -> None:
        """Count documents."""
        self.documents += len(bytes_)
        self.bytes += int(bytes_.sum())
        self.tokens += int(tokens.sum())
        self.words += int(words_.sum())
        self._bytes_squared += int(bytes_ @ bytes_)
        self._tokens_squared += int(tokens @ tokens)
        self._product += int(bytes_ @ tokens)

    @property
    def bytes_per_token(self) -> float:
        return self.bytes / max(1, self.tokens)

    @property
    def tokens_per_word(self) -> float:
        """Fertility."""
        return self.tokens / max(1, self.words)

    @property
    def stderr(self) -> float | None:
        """Standard error over documents of the ratio of sums, by linearisation (Cochran 1977, 2.11)."""
        if self.documents < 2 or not self.tokens:
            return None
        ratio = self.bytes_per_token
        squares = self._bytes_squared - 2 * ratio * self._product + ratio * ratio * self._tokens_squared
        return math.sqrt(max(0.0, squares) * self.documents / (self.documents - 1)) / self.tokens


@dataclass
class SplitCompression:
    """A split's compression: of the whole, and of each value of ``kind``, ``source`` and ``language``."""

    whole: Compression = field(default_factory=Compression)
    parts: dict[tuple[str, str], Compression] = field(default_factory=lambda: defaultdict(Compression))
    lengths: NDArray[np.int64] = field(default_factory=lambda: np.zeros(0, dtype=np.int64))
    """Documents by their tokens, the logarithm to base 2 in quarters."""
    cut: NDArray[np.float64] = field(default_factory=lambda: np.zeros(len(CUT_AT)))
    """Documents that lie across an end of the sequences, where they are concatenated: expected, for each ``CUT_AT``."""

    def add(self, batch: pa.RecordBatch, tokens: NDArray[np.int64]) -> None:
        """Count the documents of an encoded batch, which have so many ``tokens``."""
        columns = numbers(batch.column("bytes")), tokens, numbers(batch.column("words"))
        self.whole.add(*columns)
        for name in GROUPS:
            if name not in batch.schema.names:
                continue
            values = batch.column(name).dictionary_encode("encode")
            codes = numbers(values.indices)
            for code in np.unique(codes):
                value = values.dictionary[int(code)].as_py()
                here = codes == code
                self.parts[name, value or "unknown"].add(*(column[here] for column in columns))
        self.cut += np.minimum(1, tokens[:, None] / np.array(CUT_AT)).sum(axis=0)
        found = np.bincount((4 * np.log2(np.maximum(tokens, 1))).astype(np.int64))
        longer, shorter = (found, self.lengths) if len(found) > len(self.lengths) else (self.lengths, found)
        longer[: len(shorter)] += shorter
        self.lengths = longer


def rows(splits: dict[str, SplitCompression]) -> Iterable[dict[str, str | int | float | None]]:
    """A row of the report for each split's part."""
    for split, compression in sorted(splits.items()):
        for (by, value), part in sorted(compression.parts.items()):
            spaced = not (by == "language" and value.split("-")[0].split("_")[0] in _WITHOUT_SPACES)
            yield {
                "split": split,
                "by": by,
                "value": value,
                "documents": part.documents,
                "bytes": part.bytes,
                "tokens": part.tokens,
                "words": part.words,
                "bytes_per_token": part.bytes_per_token,
                "tokens_per_word": part.tokens_per_word if spaced and part.words else None,
            }
