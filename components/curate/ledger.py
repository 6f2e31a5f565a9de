"""The book of curation: what came in, what each rule took out, and examples of it."""

from __future__ import annotations

import heapq
from collections import Counter
from collections.abc import Callable

from components.curate.documents import Document, identifier

EXCERPT = 400


class Ledger:
    """Counts documents and characters per rule and keeps a small deterministic sample of what was dropped.

    The sample is the documents with the smallest content hash: random-looking, independent of order, never the first
    few rows of the first file.

    Args:
        examples: how many examples to keep for each rule.
        conceal: applied to every excerpt, so that the report never shows what redaction removed.
    """

    def __init__(self, examples: int, conceal: Callable[[str], str] = lambda text: text):
        self._examples, self._conceal = examples, conceal
        self.read: Counter[str] = Counter()
        self.read_characters: Counter[str] = Counter()
        self.dropped: Counter[str] = Counter()
        self.dropped_characters: Counter[str] = Counter()
        self.changed: Counter[str] = Counter()
        self.rows: Counter[str] = Counter()
        self.broken: Counter[str] = Counter()
        self.broken_examples: dict[str, list[str]] = {}
        self.problems: list[str] = []
        self.notes: dict[str, object] = {}
        self._samples: dict[str, list[tuple[int, str, str, str]]] = {}

    def take(self, document: Document) -> None:
        """Count a document as read."""
        self.read[document.source] += 1
        self.read_characters[document.source] += len(document.text)

    def drop(self, rule: str, document: Document, reason: str = "") -> None:
        """Count a document as dropped by ``rule``; ``reason`` is shown beside its example."""
        self.dropped[rule] += 1
        self.dropped_characters[rule] += len(document.text)
        self._sample(rule, document, reason)

    def change(self, what: str, times: int = 1) -> None:
        """Count a change made to a document that stays (a redaction, a removed line)."""
        if times:
            self.changed[what] += times

    def row(self, file: str) -> None:
        """Count a row (or a whole text file) as tried."""
        self.rows[file] += 1

    def break_row(self, file: str, where: str, error: str, excerpt: str = "") -> None:
        """Count a row that cannot be read."""
        self.broken[file] += 1
        examples = self.broken_examples.setdefault(file, [])
        if len(examples) < max(self._examples, 1):
            shown = self._conceal(excerpt[:EXCERPT].strip())
            examples.append(f"{where}: {error}" + (f": {shown}" if shown else ""))

    def examples(self, rule: str) -> list[dict[str, str]]:
        """Examples of what ``rule`` dropped: origin, reason, excerpt."""
        found = sorted(self._samples.get(rule, []), key=lambda entry: (-entry[0], entry[1], entry[2]))
        return [{"origin": origin, "reason": reason, "text": text} for _, origin, reason, text in found]

    def _sample(self, rule: str, document: Document, reason: str) -> None:
        if not self._examples:
            return
        sample = self._samples.setdefault(rule, [])
        key = -int(identifier(f"{document.origin}\n{document.text[:EXCERPT]}")[:15], 16)
        if len(sample) >= self._examples and key <= sample[0][0]:
            return
        excerpt = document.text if len(document.text) <= EXCERPT else document.text[:EXCERPT] + " [...]"
        entry = (key, document.origin, reason, self._conceal(excerpt))
        (heapq.heappush if len(sample) < self._examples else heapq.heappushpop)(sample, entry)
