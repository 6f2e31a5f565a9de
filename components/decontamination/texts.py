"""Texts to compare: sets that are read in batches, again and again."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

Ints = NDArray[np.int64]


@dataclass(frozen=True)
class TextBatch:
    """Some documents (or rows, or questions) of a set.

    Attributes:
        names: [documents] what each is called in a list; strings.
        texts: [texts] a document may have several, which are read one by one; strings.
        owners: [texts] the number of its document in ``names``.
    """

    names: pa.Array
    texts: pa.Array
    owners: Ints

    def only(self, documents: NDArray[np.bool_]) -> TextBatch:
        """The batch without the texts of other documents."""
        mine = documents[self.owners]
        return TextBatch(self.names, self.texts.filter(pa.array(mine)), self.owners[mine])


@dataclass(frozen=True)
class TextSet:
    """A set of texts that can be read again and again; ``name`` such as ``corpus/train``."""

    name: str
    batches: Callable[[], Iterable[TextBatch]]


def numbered(text_set: TextSet) -> Iterator[tuple[int, TextBatch]]:
    """Batches of a set, each with the number of its first document."""
    start = 0
    for batch in text_set.batches():
        yield start, batch
        start += len(batch.names)
