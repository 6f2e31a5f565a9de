"""What overlap means, said as plainly as possible: every document beside every item, word by word."""

from __future__ import annotations

import unicodedata
from collections import Counter
from collections.abc import Iterable, Sequence

import numpy as np
import pyarrow as pa

from components.decontamination.parameters import OverlapRules
from components.decontamination.texts import TextBatch, TextSet

Documents = Sequence[Sequence[str]]
"""Texts of each document."""


def text_set(name: str, documents: Documents, size: int = 3) -> TextSet:
    """A set in batches of ``size`` documents."""

    def batches() -> Iterable[TextBatch]:
        for start in range(0, len(documents), size):
            part = documents[start : start + size]
            owners = [number for number, texts in enumerate(part) for _ in texts]
            names = pa.array([f"{name}#{start + number}" for number in range(len(part))], pa.string())
            texts = pa.array([text for texts in part for text in texts], pa.string())
            yield TextBatch(names, texts, np.asarray(owners, np.int64))

    return TextSet(name, batches)


def split(text: str) -> list[str]:
    found = []
    for sign in unicodedata.normalize("NFKC", text).lower():
        if unicodedata.category(sign)[0] in "PS":
            continue
        unspaced = "CJK" in (name := unicodedata.name(sign, "")) or "HIRAGANA" in name or "THAI" in name
        found.append(f" {sign} " if unspaced else sign)
    return "".join(found).split()


def runs(words: Sequence[str], n: int) -> set[tuple[str, ...]]:
    return {tuple(words[i : i + n]) for i in range(len(words) - n + 1)}


def find(
    training: dict[str, Documents], evaluation: dict[str, Documents], rules: OverlapRules
) -> dict[tuple[str, str], tuple[int, set[int], int]]:
    """For each pair of sets: items that overlap, the numbers of the documents that do, items that are seen."""
    read = {name: [[split(text) for text in texts] for texts in documents] for name, documents in training.items()}
    held: Counter[tuple[str, ...]] = Counter()
    if rules.ngram_words:
        for documents in read.values():
            for texts in documents:
                held.update(set().union(*(runs(words, rules.ngram_words) for words in texts)))
    found = {}
    for name, documents in read.items():
        for against, items in evaluation.items():
            overlapping, numbers, seen = 0, set(), 0
            for item in ([split(text) for text in texts] for texts in items):
                longest = max(item, key=len, default=[])
                short = set().union(*(runs(words, rules.coverage_words) for words in item))
                long = set().union(*(runs(words, rules.ngram_words) for words in item)) if rules.ngram_words else set()
                rare = {run for run in long if held[run] <= (rules.common_documents or 10**9)}
                guilty = set()
                everywhere: set[tuple[str, ...]] = set()
                for number, texts in enumerate(documents):
                    mine = set().union(*(runs(words, rules.coverage_words) for words in texts))
                    everywhere |= mine
                    equal = bool(longest) and longest in texts
                    runs_shared = rules.ngram_words and rare & set().union(
                        *(runs(words, rules.ngram_words) for words in texts)
                    )
                    covered = rules.coverage and short and len(short & mine) >= rules.coverage * len(short)
                    if equal or runs_shared or covered:
                        guilty.add(number)
                overlapping += bool(guilty)
                numbers |= guilty
                seen += bool(rules.coverage and short and len(short & everywhere) >= rules.coverage * len(short))
            found[name, against] = overlapping, numbers, seen
    return found
