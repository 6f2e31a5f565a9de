"""What evaluation sets hold, as sorted hashes of whole texts and runs of words, with the items that hold each."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from components.decontamination.parameters import OverlapRules
from components.decontamination.texts import Ints, TextSet, numbered
from components.decontamination.windows import Hashes, Words, grams, wholes, words

_FILTER_BITS = 26  # at most 64 MiB: a first look that most runs of words do not survive


class Index:
    """The evaluation sets: their runs of words as sorted hashes, with the items that hold each."""

    def __init__(self, evaluation: Sequence[TextSet], rules: OverlapRules):
        self.names: list[str] = []
        self.texts: list[list[str]] = []
        self.set_names = [each.name for each in evaluation]
        self.items_of: list[int] = []
        self.rules = rules
        lengths = {"ngram": rules.ngram_words, "coverage": rules.coverage_words if rules.coverage else None}
        found: dict[str, list[tuple[Hashes, Ints]]] = {"exact": [], **{k: [] for k, n in lengths.items() if n}}
        for each in evaluation:
            begin = len(self.names)
            for _, batch in numbered(each):
                owners = batch.owners + len(self.names)
                self.names += batch.names.to_pylist()
                self.texts += [[] for _ in batch.names]
                for text, owner in zip(batch.texts.to_pylist(), owners.tolist(), strict=True):
                    self.texts[owner].append(text)
                hashed = words(batch.texts)
                longest = _longest(np.diff(hashed.offsets), owners)
                found["exact"].append((wholes(hashed)[longest], owners[longest]))
                for kind, n in lengths.items():
                    if n:
                        hashes, text_numbers = grams(hashed, n)
                        found[kind].append((hashes, owners[text_numbers]))
            self.items_of.append(len(self.names) - begin)
        self.items = len(self.names)
        self.sets = np.repeat(np.arange(len(evaluation)), self.items_of)
        self.lengths = {kind: n for kind, n in lengths.items() if n}
        self.keys = {kind: Keys(parts) for kind, parts in found.items()}
        covered = self.keys.get("coverage")
        self.runs = np.bincount(covered.items if covered else [], minlength=self.items)  # of each item


def _longest(sizes: Ints, owners: Ints) -> Ints:
    """Number of each document's text with the most words, the first of equals; none where there are no words."""
    order = np.lexsort((np.arange(len(sizes)), -sizes, owners))
    first = np.ones(len(order), bool)
    first[1:] = owners[order][1:] != owners[order][:-1]
    chosen = order[first]
    return np.asarray(chosen[sizes[chosen] > 0], np.int64)


class Keys:
    """Sorted hashes, and the items that hold each: ``items[begins[k] : begins[k + 1]]``."""

    def __init__(self, parts: list[tuple[Hashes, Ints]]):
        hashes = np.concatenate([part[0] for part in parts] or [np.zeros(0, np.uint64)])
        items = np.concatenate([part[1] for part in parts] or [np.zeros(0, np.int64)])
        order = np.lexsort((items, hashes))
        hashes, items = hashes[order], items[order]
        once = np.ones(len(hashes), bool)
        once[1:] = (hashes[1:] != hashes[:-1]) | (items[1:] != items[:-1])
        hashes, self.items = hashes[once], items[once]
        new = np.ones(len(hashes), bool)
        new[1:] = hashes[1:] != hashes[:-1]
        self.begins = np.append(np.flatnonzero(new), len(hashes))
        self.hashes = hashes[new]
        bits = min(_FILTER_BITS, max(10, len(self.hashes).bit_length() + 5))
        self.shift = np.uint64(64 - bits)
        self.filter = np.zeros(1 << bits, bool)
        self.filter[self.hashes >> self.shift] = True

    def find(self, hashes: Hashes) -> tuple[Ints, Ints]:
        """(places in ``hashes`` that are keys, their numbers)."""
        if not len(self.hashes):
            return np.zeros(0, np.int64), np.zeros(0, np.int64)
        likely = np.flatnonzero(self.filter[hashes >> self.shift])
        number = np.searchsorted(self.hashes, hashes[likely])
        number[number == len(self.hashes)] = 0
        right = self.hashes[number] == hashes[likely]
        return likely[right], number[right]

    def holders(self, numbers: Ints) -> tuple[Ints, Ints]:
        """(for each holder the place of its key in ``numbers``, the item that holds it)."""
        sizes = self.begins[numbers + 1] - self.begins[numbers]
        place = np.repeat(np.arange(len(numbers)), sizes)
        inside = np.arange(len(place)) - np.repeat(np.cumsum(sizes) - sizes, sizes)
        return place, self.items[self.begins[numbers][place] + inside]


def held(keys: Keys, hashed: Words, n: int, owners: Ints) -> tuple[Ints, Ints]:
    """Every key that a document holds, once: (document in the batch, number of the key), in this order."""
    hashes, text = grams(hashed, n)
    place, number = keys.find(hashes)
    pairs = np.unique(owners[text[place]] * len(keys.hashes) + number)
    return pairs // max(len(keys.hashes), 1), pairs % max(len(keys.hashes), 1)
