"""Which training texts overlap with which items of evaluation sets.

Two published rules, and equal texts:

* a run of 13 words that both hold (Brown et al. 2020, "Language Models are Few-Shot Learners", appendix C). Runs that
  stand in more than 10 training texts are left alone, as there: legal boilerplate and common phrases;
* 70 % of the item's runs of 8 words (Chowdhery et al. 2022, "PaLM", section 8) in one training text. PaLM counts over
  the whole of its training text: so many items are reported as ``seen``, but no one text is to blame for them;
* a text whose words are those of the item's longest text, however few (of a question and its answer alone, one).

GPT-3 cuts 200 characters around a run out of a document and keeps the pieces; here the document is the unit.

The evaluation sets are held in memory, as sorted hashes (some 50 bytes a word) and their texts, and a bit of every
training document. Training texts pass by in batches, twice at most: once to count, and, only where something may
overlap, once more to judge. What a hash finds is confirmed by the words themselves.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from components.decontamination.index import Index, held
from components.decontamination.parameters import OverlapRules
from components.decontamination.texts import TextBatch, TextSet, numbered
from components.decontamination.windows import grams, plain, wholes, words

_PASSAGE = 60  # words of a passage that are shown


@dataclass(frozen=True)
class SharedPassage:
    """A training document and an item of an evaluation set that hold the same.

    Attributes:
        number: place of the document in its set, from 0.
        rule: ``exact``, ``13-gram`` or ``coverage``.
        passage: words that both have.
    """

    training: str
    number: int
    document: str
    evaluation: str
    item: str
    rule: str
    passage: str


@dataclass
class PairCounts:
    """A training set and an evaluation set.

    Attributes:
        items: of the evaluation set.
        overlapping: of these, how many overlap with a document of the training set.
        documents: of the training set that overlap.
        seen: items of which the share ``coverage`` of the runs stands somewhere in the training set.
    """

    training: str
    evaluation: str
    items: int
    overlapping: int = 0
    documents: int = 0
    seen: int = 0


@dataclass
class Findings:
    """Counts of every pair of sets, and every document that overlaps, with its first item of each evaluation set."""

    pairs: list[PairCounts] = field(default_factory=list)
    overlaps: list[SharedPassage] = field(default_factory=list)


def find(
    training: Sequence[TextSet],
    evaluation: Sequence[TextSet],
    rules: OverlapRules,
    apart: Iterable[tuple[str, str]] = (),
    tick: Callable[[], None] = lambda: None,
) -> Findings:
    """Compare every training set with every evaluation set.

    Args:
        apart: pairs (training set, evaluation set) that are not compared.
        tick: called once a batch.
    """
    index = Index(evaluation, rules)
    excluded = set(apart)
    compared = np.array([[(t.name, e.name) not in excluded for e in evaluation] for t in training], bool)
    pairs = {
        (t, e): PairCounts(training[t].name, evaluation[e].name, index.items_of[e])
        for t, e in np.argwhere(compared).tolist()
    }
    findings = Findings(list(pairs.values()))
    if not index.items:
        return findings
    counted, hits = _Counted(index, len(training)), [_Hits() for _ in training]
    for t in np.flatnonzero(compared.any(axis=1)).tolist():
        for _, batch in numbered(training[t]):
            tick()
            hits[t].add(counted.add(t, batch))
    seen = counted.seen()
    for (t, e), pair in pairs.items():
        pair.seen = int(seen[t, index.sets == e].sum())
    rare = counted.rare()
    for t in [t for t, hit in enumerate(hits) if hit.any]:
        reached = np.zeros(index.items, bool)
        suspects = _Suspects(compared[t], rare, seen[t])
        for (start, batch), documents in zip(numbered(training[t]), hits[t], strict=True):
            tick()
            if not documents.any():
                continue
            for overlap, item, first in _judge(training[t].name, start, batch.only(documents), index, suspects):
                reached[item] = True
                if first:
                    findings.overlaps.append(overlap)
                    pairs[t, int(index.sets[item])].documents += 1
        for (of, e), pair in pairs.items():
            if of == t:
                pair.overlapping = int(reached[index.sets == e].sum())
    return findings


@dataclass(frozen=True)
class _Suspects:
    """What may overlap with documents of a training set: evaluation sets, runs of words, items for coverage."""

    compared: NDArray[np.bool_]
    ngrams: NDArray[np.bool_]
    items: NDArray[np.bool_]


class _Hits:
    """Which documents of a set hold anything, batch by batch; a bit each."""

    def __init__(self) -> None:
        self._bits: list[NDArray[np.uint8]] = []
        self._sizes: list[int] = []
        self.any = False

    def add(self, documents: NDArray[np.bool_]) -> None:
        self._bits.append(np.packbits(documents))
        self._sizes.append(len(documents))
        self.any |= bool(documents.any())

    def __iter__(self) -> Iterator[NDArray[np.bool_]]:
        for bits, size in zip(self._bits, self._sizes, strict=True):
            yield np.unpackbits(bits, count=size).astype(bool)


class _Counted:
    """Runs of the evaluation sets that training texts hold."""

    def __init__(self, index: Index, sets: int):
        self.index = index
        self.documents = np.zeros(len(index.keys["ngram"].hashes), np.int64) if "ngram" in index.keys else None
        keys = len(index.keys["coverage"].hashes) if "coverage" in index.keys else 0
        self.present = np.zeros((sets, keys), bool)

    def add(self, training: int, batch: TextBatch) -> NDArray[np.bool_]:
        """Count a batch of a training set; [documents] those that hold anything of an evaluation set."""
        hashed, owners, keys = words(batch.texts), batch.owners, self.index.keys
        hit = np.zeros(len(batch.names), bool)
        place, _ = keys["exact"].find(wholes(hashed))
        hit[owners[place]] = True
        if self.documents is not None:
            document, number = held(keys["ngram"], hashed, self.index.lengths["ngram"], owners)
            self.documents += np.bincount(number, minlength=len(self.documents))
            hit[document] = True
        if "coverage" in keys:
            hashes, text = grams(hashed, self.index.lengths["coverage"])
            place, number = keys["coverage"].find(hashes)
            self.present[training, number] = True
            hit[owners[text[place]]] = True
        return hit

    def seen(self) -> NDArray[np.bool_]:
        """[training sets, items] where the training set holds PaLM's share of the item's runs."""
        index = self.index
        found = np.zeros((len(self.present), index.items), bool)
        if keys := index.keys.get("coverage"):
            sizes = np.diff(keys.begins)
            for row, present in zip(found, self.present, strict=True):
                held = np.bincount(keys.items[np.repeat(present, sizes)], minlength=index.items)
                row[:] = (index.runs > 0) & (held >= (index.rules.coverage or 1.0) * index.runs)
        return found

    def rare(self) -> NDArray[np.bool_]:
        """[runs of 13 words] those that are no boilerplate."""
        if self.documents is None:
            return np.zeros(0, bool)
        return (self.documents > 0) & (self.documents <= (self.index.rules.common_documents or np.inf))


def _judge(
    training: str, start: int, batch: TextBatch, index: Index, suspects: _Suspects
) -> Iterator[tuple[SharedPassage, int, bool]]:
    """(overlap, item, whether it is the document's first with this evaluation set), documents in order."""
    hashed, owners, keys = words(batch.texts), batch.owners, index.keys
    found: dict[tuple[int, int], str] = {}
    place, number = keys["exact"].find(wholes(hashed))
    at, item = keys["exact"].holders(number)
    for document, each in zip(owners[place][at].tolist(), item.tolist(), strict=True):
        found.setdefault((document, each), "exact")
    if "ngram" in keys:
        document, number = held(keys["ngram"], hashed, index.lengths["ngram"], owners)
        rare = suspects.ngrams[number]
        document, number = document[rare], number[rare]
        at, item = keys["ngram"].holders(number)
        for pair in dict.fromkeys(zip(document[at].tolist(), item.tolist(), strict=True)):
            found.setdefault(pair, f"{index.lengths['ngram']}-gram")
    if "coverage" in keys and suspects.items.any():
        document, number = held(keys["coverage"], hashed, index.lengths["coverage"], owners)
        at, item = keys["coverage"].holders(number)
        likely = suspects.items[item]
        pairs, counts = np.unique(document[at][likely] * index.items + item[likely], return_counts=True)
        enough = counts >= (index.rules.coverage or 1.0) * index.runs[pairs % index.items]
        for pair in pairs[enough].tolist():
            found.setdefault((pair // index.items, pair % index.items), "coverage")
    listed: set[tuple[int, int]] = set()
    for (document_number, each), rule in sorted(found.items()):
        of = int(index.sets[each])
        if not suspects.compared[of]:
            continue
        first = (document_number, of) not in listed
        mine = batch.texts.filter(pa.array(owners == document_number)).to_pylist() if first else []
        passage = _passage(mine, index.texts[each], _least(rule, index.rules)) if first else ""
        if passage is None:
            continue  # two texts of one hash
        listed.add((document_number, of))
        yield (
            SharedPassage(training, start + document_number, batch.names[document_number].as_py(), index.set_names[of],
                    index.names[each], rule, passage),
            each,
            first,
        )  # fmt: skip


def _least(rule: str, rules: OverlapRules) -> int | None:
    return None if rule == "exact" else rules.coverage_words if rule == "coverage" else rules.ngram_words


def _passage(mine: Sequence[str], theirs: Sequence[str], least: int | None) -> str | None:
    """The longest run of words from the first that both hold, of ``least`` words or more; ``None``: equal texts."""
    own, other = [plain(text) for text in mine], [plain(text) for text in theirs]
    if least is None:
        same = next((text for text in own if text in other), None)
        return None if same is None else _shown(same)
    held = {tuple(text[i : i + least]): (text, i) for text in other for i in range(len(text) - least + 1)}
    best: list[str] = []
    for text in own:
        place = 0
        while place <= len(text) - least:
            if (match := held.get(tuple(text[place : place + least]))) is None:
                place += 1
                continue
            against, at = match
            size = least
            while place + size < len(text) and at + size < len(against) and text[place + size] == against[at + size]:
                size += 1
            if size > len(best):
                best = text[place : place + size]
            place += size
    return _shown(best) if best else None


def _shown(found: Sequence[str]) -> str:
    return " ".join(found[:_PASSAGE]) + (f" [... {len(found) - _PASSAGE} more words]" if len(found) > _PASSAGE else "")
