"""N-gram models: interpolated modified Kneser-Ney, normalised, over any tokens.

Chen and Goodman, "An Empirical Study of Smoothing Techniques for Language Modeling" (1998), section 3.4 and equations
26-29. Unlike stupid back-off it gives true probabilities, so its loss may stand beside a neural model's. Counts are
held as sorted integer keys (numpy), some tens of bytes for each distinct n-gram; a million tokens take about a second.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Document = Sequence[int] | NDArray[np.integer[Any]]

# KenLM's fallback for corpora too small to have n-grams of each of the counts 1 to 4.
_FALLBACK_DISCOUNTS = (0.5, 1.0, 1.5)


@dataclass(frozen=True)
class _Level:
    """Counts of one context length. A context is a number; -1 is a context never seen.

    Attributes:
        contexts: sorted keys ``leftmost token + vocabulary * number of the shorter context``; place = context number.
        grams: sorted keys ``token + vocabulary * context``.
        counts: of ``grams``.
        discounted: for each of ``grams``, its count less its discount.
        totals: for each context, the sum of its counts.
        reserved: for each context, the sum of its discounts: the weight that the shorter context gets.
    """

    contexts: NDArray[np.int64]
    grams: NDArray[np.int64]
    counts: NDArray[np.int64]
    discounted: NDArray[np.float64]
    totals: NDArray[np.float64]
    reserved: NDArray[np.float64]


@dataclass(frozen=True)
class BackoffTable:
    """One order of a model written as back-off: what is not in ``grams`` has the probability that the shorter context
    gives, times the weight of its context (1 for a context that is not in ``contexts``).

    Attributes:
        grams: tokens, the last of the text first, ``[n, order]``.
        probabilities: of each of ``grams``.
        contexts: tokens, the last of the text first, ``[m, order - 1]``.
        weights: of each of ``contexts``, 0 to 1.
    """

    grams: NDArray[np.int64]
    probabilities: NDArray[np.float64]
    contexts: NDArray[np.int64]
    weights: NDArray[np.float64]


class NGramModel:
    """Interpolated modified Kneser-Ney of one order.

    Documents are padded on the left with ``padding`` (the document separator), so that a model sees of a document's
    beginning what the neural model sees.

    Args:
        documents: token ids of each training document.
        vocabulary: number of token ids; the last resort is uniform over them, so every token has a probability.
        order: length of the longest n-gram; 1 is a unigram model.
        padding: id of the token that precedes a document.
    """

    def __init__(self, documents: Sequence[Document], vocabulary: int, order: int, padding: int):
        if order < 1:
            raise ValueError(f"an n-gram model needs order 1 or more, not {order}")
        self.vocabulary, self.order, self.padding = vocabulary, order, padding
        tokens, positions = self._stream(documents)
        numbers, contexts = np.zeros(len(tokens), np.int64), [np.zeros(1, np.int64)]
        by_length = [numbers]
        for length in range(1, order):
            keys = self._extend(numbers, tokens, length)
            known, inverse = np.unique(keys[positions], return_inverse=True)
            numbers = np.full(len(tokens), -1, np.int64)
            numbers[positions] = inverse
            contexts.append(known)
            by_length.append(numbers)
        # Kneser-Ney: the longest n-grams count how often they occurred, the shorter ones with how many different
        # tokens to their left; so each level counts over the distinct n-grams of the level above.
        levels: list[_Level] = []
        counted = positions
        for length in range(order - 1, -1, -1):
            grams, first, counts = np.unique(
                tokens[counted] + vocabulary * by_length[length][counted], return_index=True, return_counts=True
            )
            levels.append(self._level(contexts[length], grams, counts))
            counted = counted[first]
        self._levels = levels[::-1]

    def log_probabilities(self, documents: Sequence[Document]) -> list[NDArray[np.float64]]:
        """Natural log probability of every token of every document, one array a document."""
        tokens, positions = self._stream(documents)
        probability = np.full(len(positions), 1.0 / self.vocabulary)
        contexts = np.zeros(len(tokens), np.int64)
        for length, level in enumerate(self._levels):
            if length:
                contexts = _find(level.contexts, self._extend(contexts, tokens, length), contexts >= 0)
            context = contexts[positions]
            seen = context >= 0
            place = _find(level.grams, tokens[positions] + self.vocabulary * context, seen)
            count = np.where(place >= 0, level.discounted[place], 0.0)
            interpolated = (count + level.reserved[context] * probability) / level.totals[context]
            probability = np.where(seen, interpolated, probability)
        lengths = [len(document) for document in documents]
        return np.split(np.log(probability), np.cumsum(lengths)[:-1]) if lengths else []

    def backoff(self, fewest: Sequence[int]) -> list[BackoffTable]:
        """The same probabilities as tables, one for each order from 1 on.

        Args:
            fewest: for each order how often an n-gram must have been counted to be in the table; the weight of one that
                was not goes to the shorter context, so that probabilities still sum to 1.
        """
        tables: list[BackoffTable] = []
        probabilities = np.full(self.vocabulary, 1.0 / self.vocabulary)
        below = np.arange(self.vocabulary)  # keys of the grams of the order below
        tokens = np.zeros((1, 0), np.int64)  # of the contexts
        for length, level in enumerate(self._levels):
            if length:
                left, shorter = level.contexts % self.vocabulary, level.contexts // self.vocabulary
                tokens = np.column_stack([tokens[shorter], left])
            else:
                shorter = np.zeros(1, np.int64)
            context, token = level.grams // self.vocabulary, level.grams % self.vocabulary
            kept = level.counts >= fewest[length]
            gone = np.bincount(context, np.where(kept, 0.0, level.discounted), len(level.contexts))
            weights = (level.reserved + gone) / level.totals
            lower = token + self.vocabulary * shorter[context] if length else token
            probabilities = np.where(kept, level.discounted, 0.0) / level.totals[context] + (
                weights[context] * probabilities[np.searchsorted(below, lower)]
            )
            below = level.grams
            stay = weights < 1
            grams = np.column_stack([token, tokens[context]])[kept]
            tables.append(BackoffTable(grams, probabilities[kept], tokens[stay], weights[stay]))
        return tables

    def _stream(self, documents: Sequence[Document]) -> tuple[NDArray[np.int64], NDArray[np.intp]]:
        """All documents in a row, each after ``order - 1`` paddings, and the positions of their tokens."""
        margin = self.order - 1
        lengths = np.array([len(document) for document in documents], np.intp)
        starts = np.cumsum(lengths + margin) - lengths
        size = int(lengths.sum() + margin * len(lengths))
        positions = np.arange(lengths.sum()) + np.repeat(starts - (np.cumsum(lengths) - lengths), lengths)
        tokens = np.full(size, self.padding, np.int64)
        if size:
            tokens[positions] = np.concatenate([np.asarray(document, np.int64) for document in documents])
        return tokens, positions

    def _extend(self, shorter: NDArray[np.int64], tokens: NDArray[np.int64], length: int) -> NDArray[np.int64]:
        """Keys of the contexts of ``length`` tokens: the shorter context's number and the token left of it."""
        left = np.full(len(tokens), self.padding, np.int64)
        left[length:] = tokens[: max(len(tokens) - length, 0)]
        return left + self.vocabulary * shorter

    def _level(self, contexts: NDArray[np.int64], grams: NDArray[np.int64], counts: NDArray[np.int64]) -> _Level:
        of_count = [int((counts == c).sum()) for c in (1, 2, 3, 4)]
        discounts = _FALLBACK_DISCOUNTS
        if all(of_count):
            one, two, three, four = of_count
            y = one / (one + 2 * two)
            estimated = (1 - 2 * y * two / one, 2 - 3 * y * three / two, 3 - 4 * y * four / three)
            if all(0 < discount <= c for c, discount in enumerate(estimated, 1)):
                discounts = estimated
        discount = np.array(discounts)[np.minimum(counts, 3) - 1]
        context = grams // self.vocabulary
        size = len(contexts)
        return _Level(
            contexts=contexts,
            grams=grams,
            counts=counts,
            discounted=counts - discount,
            totals=np.bincount(context, weights=counts, minlength=size).astype(float),
            reserved=np.bincount(context, weights=discount, minlength=size).astype(float),
        )


def _find(keys: NDArray[np.int64], wanted: NDArray[np.int64], valid: NDArray[np.bool_]) -> NDArray[np.int64]:
    """Place of each ``wanted`` key among the sorted ``keys``; -1 where there is none or it is not ``valid``."""
    place = np.minimum(np.searchsorted(keys, wanted), len(keys) - 1)
    return np.where(valid & (keys[place] == wanted), place, -1)
