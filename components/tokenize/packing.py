"""Documents packed into training sequences of one length, cutting only those that are longer: best-fit packing.

Ding et al. 2024 ("Fewer Truncations Improve Language Modeling", arXiv:2404.10830): a document longer than a sequence is
divided into pieces of that length and a rest; rests and whole documents, longest first, go each into the fullest
sequence that has room for it (best-fit decreasing). What stays free at a sequence's end is padding.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from components.tokenize.shards import SplitEntry, TokenShardWriter

_WINDOW_TOKENS = 1 << 22
_WINDOW_SEQUENCES = 256


def best_fit(sizes: NDArray[np.int64], capacity: int) -> tuple[NDArray[np.int64], int]:
    """The bin of each item, and the number of bins: best-fit decreasing; among equals, the first ones first.

    Items of one size are placed together: of the bins that have room, those with the least are filled one after the
    other, as they would be item by item.

    Args:
        sizes: from 1 to ``capacity``.
    """
    bins = np.zeros(len(sizes), dtype=np.int64)
    order = np.argsort(-sizes, kind="stable")
    edges = np.flatnonzero(np.diff(sizes[order], prepend=0, append=0))
    free: dict[int, list[NDArray[np.int64]]] = {}  # bins by the room that they have
    rooms = 0  # the keys of ``free``, as bits
    made = 0
    for start, stop in zip(edges[:-1].tolist(), edges[1:].tolist(), strict=True):
        items = order[start:stop]
        size = int(sizes[items[0]])
        while len(items):
            if larger := rooms >> size:
                room = size + (larger & -larger).bit_length() - 1
                candidates = free[room].pop()
                if not free[room]:
                    rooms &= ~(1 << room)
            else:
                room = capacity
                candidates = np.arange(made, made - (-len(items) // (capacity // size)))
                made += len(candidates)
            each = room // size
            used = min(len(candidates), -(-len(items) // each))
            if used < len(candidates):
                free.setdefault(room, []).append(candidates[used:])
                rooms |= 1 << room
            filled, placed = candidates[:used], min(len(items), each * used)
            bins[items[:placed]] = np.repeat(filled, each)[:placed]
            last = placed - each * (used - 1)  # items in the last bin
            for group, left in ((filled[:-1], room - each * size), (filled[-1:], room - last * size)):
                if len(group) and left:
                    free.setdefault(left, []).append(group)
                    rooms |= 1 << left
            items = items[placed:]
    return bins, made


@dataclass
class BestFitWriter:
    """Writes a split as sequences of ``seq_length + 1`` tokens: so many inputs, and the label of the last.

    A sequence begins with the token ``start``, and so does every document in it; a document's own end token ends it.
    Where ``start`` is that end token, one stands between two documents. Padding is ``start``, so ``start`` after
    ``start`` is no label. Documents are packed in windows of some million tokens, in the order in which they come.

    Args:
        distinct: ``start`` is another token than the one that ends a document.
    """

    writer: TokenShardWriter
    seq_length: int
    start: int
    distinct: bool
    _ids: list[NDArray[Any]] = field(default_factory=list)
    _lengths: list[NDArray[np.int64]] = field(default_factory=list)
    _waiting: int = 0
    _documents: int = 0
    _sequences: int = 0
    _divided: int = 0
    _padding: int = 0

    def add(self, ids: NDArray[Any], lengths: NDArray[np.int64], bytes_: int) -> None:
        """Append documents, as :meth:`TokenShardWriter.add`."""
        self.writer.bytes += bytes_
        window = max(_WINDOW_TOKENS, _WINDOW_SEQUENCES * self.seq_length)
        ends = np.cumsum(lengths)
        first = written = 0
        # A window ends after the document that fills it, however the documents come.
        while first < len(lengths):
            last = min(int(np.searchsorted(ends, written + window - self._waiting)), len(ends) - 1)
            self._ids.append(ids[written : ends[last]])
            self._lengths.append(lengths[first : last + 1])
            self._waiting += int(ends[last]) - written
            first, written = last + 1, int(ends[last])
            if self._waiting >= window:
                self._pack()

    def finish(self) -> SplitEntry:
        """Write what is left and close the last file; the split's entry of the index."""
        self._pack()
        entry = self.writer.finish()
        entry["documents"] = self._documents
        return {
            **entry,
            "sequences": self._sequences,
            "documents_divided": self._divided,
            "padding": self._padding,
        }

    def _pack(self) -> None:
        if not self._lengths:
            return
        ids, lengths = np.concatenate(self._ids), np.concatenate(self._lengths)
        self._ids, self._lengths, self._waiting = [], [], 0
        self._documents += len(lengths)
        first = np.cumsum(lengths) - lengths
        first, lengths = first[lengths > 1], lengths[lengths > 1]  # an empty document teaches nothing
        whole, rest = lengths // self.seq_length, lengths % self.seq_length
        self._divided += int((lengths > self.seq_length).sum())
        pieces = np.repeat(first, whole) + _counting(whole) * self.seq_length
        kept = rest > 1  # an end token alone would be an empty document
        rests = (first + whole * self.seq_length)[kept]
        sizes = rest[kept] + self.distinct
        bins, made = best_fit(sizes, self.seq_length + self.distinct)
        rows = np.full((len(pieces) + made, self.seq_length + 1), self.start, dtype=ids.dtype)
        rows[: len(pieces), 1:] = ids[pieces[:, None] + np.arange(self.seq_length)]
        # In each sequence, the pieces in the order in which they were placed: longest first.
        placed = np.lexsort((np.arange(len(sizes)), -sizes, bins))
        bins, rests, sizes = bins[placed], rests[placed], sizes[placed]
        before = np.cumsum(sizes) - sizes
        opens = np.flatnonzero(np.diff(bins, prepend=-1))
        offset = before - np.repeat(before[opens], np.diff(opens, append=len(bins)))
        tokens = sizes - self.distinct
        target = (len(pieces) + bins) * (self.seq_length + 1) + 1 + offset
        within = _counting(tokens)
        rows.reshape(-1)[np.repeat(target, tokens) + within] = ids[np.repeat(rests, tokens) + within]
        self._sequences += len(rows)
        self._padding += made * (self.seq_length + self.distinct) - int(sizes.sum())
        self.writer.add(rows.reshape(-1), np.full(len(rows), self.seq_length + 1), 0)


@dataclass
class Preceded:
    """Writes documents one after the other, each after the token ``start``."""

    writer: TokenShardWriter
    start: int

    def add(self, ids: NDArray[Any], lengths: NDArray[np.int64], bytes_: int) -> None:
        """Append documents, as :meth:`TokenShardWriter.add`."""
        self.writer.add(np.insert(ids, np.cumsum(lengths) - lengths, self.start), lengths + 1, bytes_)

    def finish(self) -> SplitEntry:
        """Close the last file; the split's entry of the index."""
        return self.writer.finish()


Writer = TokenShardWriter | BestFitWriter | Preceded


def _counting(lengths: NDArray[np.int64]) -> NDArray[np.int64]:
    """0, 1 ... for each of the lengths, one after the other."""
    ends = np.cumsum(lengths)
    return np.arange(ends[-1] if len(ends) else 0) - np.repeat(ends - lengths, lengths)
