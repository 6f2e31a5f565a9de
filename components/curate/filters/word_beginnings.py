"""Where words begin in many texts, as :mod:`components.curate.filters.spacy_words` has them.

spaCy divides what stands between white space, a *stretch*, by that alone. So a stretch is given to it once, however
often it occurs, and what it made of it is kept. One thing reaches further: a special case (``:)``, ``e.g.``) that
spaCy puts together again from its parts is also sought across a blank, where it replaces nothing but may keep another
one from being put together. Texts where that can be are given to spaCy whole.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from functools import cache
from itertools import pairwise, product
from typing import Any

import numpy as np

from components.curate.filters import measures
from components.curate.filters.spacy_words import LONGEST, divided, tokenizer, tokens
from components.curate.text.code_points import Array, compiled

_KEPT = 200_000  # stretches: some 40 MB
_CHARACTERS = 10_000_000  # of those that are kept
_AT_ONCE = 200_000  # characters that spaCy is given together, which need a hundred times their size


def begins(texts: Sequence[str], codes: Array, starts: Array, classes: Array) -> Array:
    """1 where a word begins (uint8), of texts laid end to end.

    Args:
        classes: as of :mod:`components.curate.filters.measures`.
    """
    known = divider()
    numbers = known.numbers([stretch for text in texts for stretch in text.split()])
    found = np.zeros(len(codes), np.uint8)
    doubtful = _mark(
        codes, starts, classes, numbers, known.places, known.begins, known.lefts, known.rights, known.merges,
        known.touching, found,
    )  # fmt: skip
    for place in np.flatnonzero(doubtful).tolist():
        found[starts[place] : starts[place + 1]] = _whole(texts[place])
    return found


def _whole(text: str) -> Array:
    """1 where a word of the text begins, by spaCy."""
    found, place = np.zeros(len(text), np.uint8), 0
    for token in tokens(text):
        place = text.index(token, place)
        found[place] = 1
        place += len(token)
    return found


@compiled
def _mark(
    codes: Array,
    starts: Array,
    classes: Array,
    numbers: Array,
    places: Array,
    begins: Array,
    lefts: Array,
    rights: Array,
    merges: Array,
    touching: Array,
    found: Array,
) -> Array:
    """Set ``found`` where a word begins; returns of each text whether it must be divided as a whole."""
    doubtful = np.zeros(len(starts) - 1, np.bool_)
    count = 0
    for text in range(len(starts) - 1):
        begin, end = starts[text], starts[text + 1]
        before, before_end = -1, begin
        for place in range(begin, end + 1):
            if place < end and not classes[codes[place]] & measures.SPACE:
                continue
            if place > begin:
                number = numbers[count]
                count += 1
                if number < 0:
                    found[begin] = 1
                else:
                    found[begin:place] = begins[places[number] : places[number] + place - begin]
                    if before >= 0 and begin == before_end + 1 and codes[before_end] == 32:
                        if (merges[before] or merges[number]) and touching[lefts[before], rights[number]]:
                            doubtful[text] = True
                before, before_end = number, place
            begin = place + 1
    return doubtful


@cache
def divider() -> _Divider:
    return _Divider()


class _Divider:
    """Stretches by number, and what spaCy made of each."""

    def __init__(self) -> None:
        strings = tokenizer().vocab.strings
        merged, pairs = _special_cases()
        self._merged = np.array([strings.add(token) for token in merged], np.uint64)
        lefts, rights = sorted({left for left, _ in pairs}), sorted({right for _, right in pairs})
        self._lefts, self._rights = _Numbers(map(strings.add, lefts)), _Numbers(map(strings.add, rights))
        self.touching = np.zeros((len(lefts) + 1, len(rights) + 1), np.bool_)
        """By :attr:`lefts` and :attr:`rights` of two stretches: their tokens may be parts of one special case."""
        for left, right in pairs:
            self.touching[lefts.index(left) + 1, rights.index(right) + 1] = True
        self._forget()

    def _forget(self) -> None:
        self._numbers: dict[str, int] = {}
        self.begins = np.zeros(0, np.uint8)
        """1 where a word begins, of all stretches that are kept, each with a place more at its end."""
        self.places = np.zeros(0, np.int64)
        """Where a stretch is in :attr:`begins`."""
        self.lefts = self.rights = np.zeros(0, np.int64)
        """Of a stretch's last and first token: its row and column in :attr:`touching`."""
        self.merges = np.zeros(0, np.bool_)
        """Whether a special case was put together in the stretch."""

    def numbers(self, stretches: Sequence[str]) -> Array:
        """The number of each stretch in the arrays above, -1 where it is too long (int64)."""
        distinct = {each for each in stretches if len(each) <= LONGEST}
        new = distinct.difference(self._numbers)
        if len(self._numbers) + len(new) > _KEPT or len(self.begins) > _CHARACTERS:
            self._forget()
            new = distinct
        portion, size = list[str](), 0
        for stretch in new:
            portion.append(stretch)
            size += len(stretch)
            if size >= _AT_ONCE:
                self._learn(portion)
                portion, size = [], 0
        if portion:
            self._learn(portion)
        found = self._numbers
        return np.fromiter((found.get(each, -1) for each in stretches), np.int64, len(stretches))

    def _learn(self, stretches: list[str]) -> None:
        from spacy.attrs import LENGTH, ORTH

        with tokenizer().vocab.memory_zone():
            # A line break ends every special case, and is a token.
            tokens = divided("\n".join(stretches)).to_array([ORTH, LENGTH])
        places = _ends(tokens[:, 1]) - tokens[:, 1].astype(np.int64)
        sizes = np.fromiter(map(len, stretches), np.int64, len(stretches)) + 1
        begins = np.zeros(sizes.sum(), np.uint8)
        begins[places] = 1
        at = _ends(sizes) - sizes
        first = np.searchsorted(places, at)
        last = np.append(first[1:] - 2, len(places) - 1)
        owner = np.searchsorted(at, places, side="right") - 1
        merges = np.zeros(len(stretches), np.bool_)
        merges[owner[np.isin(tokens[:, 0], self._merged)]] = True
        for number, stretch in enumerate(stretches, len(self._numbers)):
            self._numbers[stretch] = number
        self.places = np.append(self.places, at + len(self.begins))
        self.begins = np.append(self.begins, begins)
        self.lefts = np.append(self.lefts, self._lefts.of(tokens[last, 0]))
        self.rights = np.append(self.rights, self._rights.of(tokens[first, 0]))
        self.merges = np.append(self.merges, merges)


class _Numbers:
    """Numbers from 1 of the keys, in the order given; 0 of all others."""

    def __init__(self, keys: Any):
        keys = np.fromiter(keys, np.uint64)
        self._order = np.argsort(keys)
        self._keys = keys[self._order]

    def of(self, keys: Array) -> Array:
        near = np.minimum(np.searchsorted(self._keys, keys), len(self._keys) - 1)
        return np.where(self._keys[near] == keys, self._order[near] + 1, 0)


def _ends(sizes: Array) -> Array:
    return np.cumsum(sizes.astype(np.int64))


def _special_cases() -> tuple[set[str], set[tuple[str, str]]]:
    """Of the special cases that spaCy divides and puts together again: tokens by which each is known; pairs of tokens,
    one at the end of a stretch and one at the beginning of the next, that may be parts of one."""
    from spacy.tokenizer import Tokenizer

    usual = tokenizer()
    bare = Tokenizer(
        usual.vocab, prefix_search=usual.prefix_search, suffix_search=usual.suffix_search,
        infix_finditer=usual.infix_finditer, token_match=usual.token_match, url_match=usual.url_match,
    )  # fmt: skip
    # Those with which Tokenizer.add_special_case does the same.
    cases = [
        case for case in usual.rules
        if not case.isspace() and (usual.find_prefix(case) or usual.find_infix(case) or usual.find_suffix(case))
    ]  # fmt: skip
    parts = {case: [token.text for token in bare(case)] for case in cases}
    whole = {case: [token.text for token in usual(case)] for case in cases}
    merged = set()
    shown_last, shown_first = defaultdict[str, set[str]](set), defaultdict[str, set[str]](set)
    for case in cases:
        # The token that is seen at an end of a stretch, where this part was before it was put together.
        shown_last[parts[case][-1]].add(whole[case][-1])
        shown_first[parts[case][0]].add(whole[case][0])
        if new := [token for token in whole[case] if token not in parts[case]]:
            merged.add(max(new, key=len))
    pairs = {
        pair
        for tokens in parts.values()
        for left, right in pairwise(tokens)
        for pair in product({left, *shown_last[left]}, {right, *shown_first[right]})
    }
    return merged, pairs
