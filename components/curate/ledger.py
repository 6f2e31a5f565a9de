"""The book of curation: what came in, what each rule took out, and examples of it."""

from __future__ import annotations

import heapq
from collections import Counter
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from typing import Any

from components.curate.documents import Document, identifier

EXCERPT = 1000  # characters
LEAD = 200  # of them before the first change
_MARGIN = 100  # characters behind them that are kept until personal data is concealed, lest it be cut in two
_MORE = " [...]"
EXAMPLES = 3
Entry = tuple[int, str, str, str]  # key, origin, and two texts: reason and excerpt, or before and after
_COUNTS = ("read", "read_characters", "dropped", "dropped_characters", "changed", "skipped", "languages", "scores")


@dataclass
class RowTally:
    """Rows of one file: how many there are, how many cannot be used, and the first of these."""

    file: str
    rows: int = 0
    broken: int = 0
    examples: list[str] = field(default_factory=list)

    def add(self, where: str, error: str, most: int = EXAMPLES) -> None:
        """Count a row that cannot be used; the first ``most`` are kept as examples."""
        self.broken += 1
        if len(self.examples) < most:
            self.examples.append(f"{where}: {error}")

    def problem(self, max_share: float, parameter: str) -> str | None:
        """The message if more than ``max_share`` of the rows, the value of ``parameter``, cannot be used."""
        if self.broken <= max_share * self.rows:
            return None
        return (
            f"{self.file}: {self.broken} of {self.rows} rows cannot be used ({self.broken / self.rows:.1%}; tolerated "
            f"{max_share:.1%}): repair them, or raise {parameter}. First: {'; '.join(self.examples)}"
        )

    def warning(self) -> str | None:
        """The message if rows are left out."""
        if not self.broken:
            return None
        return f"{self.file}: {self.broken} of {self.rows} rows could not be used; examples are in the report"


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
        self.scores: Counter[str] = Counter()  # of classifiers, by name and bin of the histogram
        self.skipped: Counter[str] = Counter()
        self.languages: Counter[str] = Counter()  # of the documents read, by code
        self.encodings: dict[str, str] = {}
        self.files: dict[str, RowTally] = {}
        self.unused: dict[str, list[str]] = {}
        self.problems: list[str] = []
        self.notes: dict[str, dict[str, Any]] = {}
        self._samples: dict[str, list[Entry]] = {}
        self._changes: dict[str, list[Entry]] = {}

    def take(self, document: Document) -> None:
        """Count a document as read."""
        self.read[document.source] += 1
        self.read_characters[document.source] += len(document.text)

    def drop(self, rule: str, document: Document, reason: str | Callable[[], str] = "") -> None:
        """Count a document as dropped by ``rule``; ``reason`` is shown beside its example, and may be a function where
        it takes long to find."""
        self.dropped[rule] += 1
        self.dropped_characters[rule] += len(document.text)
        self._sample(rule, document, reason)

    def change(self, what: str, times: int = 1) -> None:
        """Count a change made to a document that stays (a redaction, a removed line)."""
        if times:
            self.changed[what] += times

    def show(self, what: str, document: Document, before: str, after: str, *, secret: bool = False) -> None:
        """Keep an example of a change, perhaps: both texts from a little before the first difference on.

        Args:
            secret: nothing is kept of the text before.
        """
        key = -int(identifier(f"{document.origin}\n{after[:EXCERPT]}")[:15], 16)
        if self._wanted(self._changes.get(what, []), key):
            differs = (place for place, (a, b) in enumerate(zip(before, after, strict=False)) if a != b)
            start = max(0, next(differs, min(len(before), len(after))) - LEAD)
            one = "" if secret else _part(before, start)
            self._keep(self._changes, what, (key, document.origin, one, _part(after, start)))

    def skip(self, what: str, times: int = 1) -> None:
        """Count a part of a file that is there by right and holds no document (a request, an image)."""
        self.skipped[what] += times

    def encoding(self, file: str, name: str) -> None:
        """Note the encoding of a file that is not UTF-8."""
        self.encodings[file] = name

    def row(self, file: str) -> None:
        """Count a row (or a whole text file) as tried."""
        self.files.setdefault(file, RowTally(file)).rows += 1

    def break_row(self, file: str, where: str, error: str, excerpt: str = "") -> None:
        """Count a row that cannot be used."""
        shown = self._conceal(excerpt[:EXCERPT].strip())
        self.files[file].add(where, error + (f": {shown}" if shown else ""), max(self._examples, 1))

    def examples(self, rule: str) -> list[dict[str, str]]:
        """Examples of what ``rule`` dropped: origin, reason, excerpt."""
        found = self._shown(self._samples.get(rule, []))
        return [{"origin": origin, "reason": reason, "text": text} for _, origin, reason, text in found]

    def changes(self) -> dict[str, list[dict[str, str]]]:
        """Examples of each change: origin, and an excerpt before and after it."""
        return {
            what: [{"origin": origin, "before": one, "after": other} for _, origin, one, other in self._shown(entries)]
            for what, entries in sorted(self._changes.items())
        }

    def merge(self, other: Ledger) -> None:
        """Take over what another ledger holds of later documents.

        Counts and samples come out the same in any order; what is listed (broken rows, problems, notes) comes in the
        order of the merging.
        """
        for name in _COUNTS:
            getattr(self, name).update(getattr(other, name))
        for file, tally in other.files.items():
            own = self.files.setdefault(file, RowTally(file))
            own.rows += tally.rows
            own.broken += tally.broken
            own.examples = [*own.examples, *tally.examples][: max(self._examples, 1)]
        self.unused.update(other.unused)
        self.encodings.update(other.encodings)
        self.problems += other.problems
        for source, notes in other.notes.items():
            own_notes = self.notes.setdefault(source, {})
            for name, value in notes.items():
                own_notes[name] = [*own_notes.get(name, []), *value] if isinstance(value, list) else value
        for own_entries, entries_of in ((self._samples, other._samples), (self._changes, other._changes)):
            for rule, entries in entries_of.items():
                for entry in entries:
                    self._keep(own_entries, rule, entry)

    def as_dict(self) -> dict[str, Any]:
        """All of it as values of JSON, for :meth:`of`."""
        return {
            **{name: dict(getattr(self, name)) for name in _COUNTS},
            "files": [asdict(tally) for tally in self.files.values()],
            "unused": self.unused,
            "encodings": self.encodings,
            "problems": self.problems,
            "notes": self.notes,
            "samples": {rule: self._shown(entries) for rule, entries in self._samples.items()},
            "changes": {what: self._shown(entries) for what, entries in self._changes.items()},
        }

    @classmethod
    def of(cls, examples: int, body: dict[str, Any]) -> Ledger:
        """The ledger that :meth:`as_dict` describes, to be merged into another: its excerpts are concealed already."""
        ledger = cls(examples)
        for name in _COUNTS:
            getattr(ledger, name).update(body[name])
        ledger.files = {tally["file"]: RowTally(**tally) for tally in body["files"]}
        ledger.unused, ledger.problems, ledger.notes = body["unused"], body["problems"], body["notes"]
        ledger.encodings = body["encodings"]
        ledger._samples = {rule: [tuple(entry) for entry in entries] for rule, entries in body["samples"].items()}
        ledger._changes = {what: [tuple(entry) for entry in entries] for what, entries in body["changes"].items()}
        return ledger

    def _sample(self, rule: str, document: Document, reason: str | Callable[[], str]) -> None:
        sample = self._samples.get(rule, [])
        key = -int(identifier(f"{document.origin}\n{document.text[:EXCERPT]}")[:15], 16)
        if self._wanted(sample, key):
            reason = reason if isinstance(reason, str) else reason()
            self._keep(self._samples, rule, (key, document.origin, reason, _part(document.text)))

    def _wanted(self, sample: list[Entry], key: int) -> bool:
        return self._examples > 0 and (len(sample) < self._examples or key > sample[0][0])

    def _keep(self, samples: dict[str, list[Entry]], rule: str, entry: Entry) -> None:
        """Keep an example if it is among those with the smallest hashes."""
        sample = samples.setdefault(rule, [])
        (heapq.heappush if len(sample) < self._examples else heapq.heappushpop)(sample, entry)

    def _shown(self, entries: list[Entry]) -> list[Entry]:
        """Entries in order, without personal data. Only at the end, since most of what is kept makes room again."""
        ordered = sorted(entries, key=lambda entry: (-entry[0], *entry[1:]))
        return [
            (key, origin, _cut(self._conceal(one)), _cut(self._conceal(other))) for key, origin, one, other in ordered
        ]


def excerpt(text: str, conceal: Callable[[str], str]) -> str:
    """The beginning of a text without personal data, which says whether there is more."""
    return _cut(conceal(_part(text)))


def _part(text: str, start: int = 0) -> str:
    return (f"{_MORE[1:]} " if start else "") + text[start : start + EXCERPT + _MARGIN]


def _cut(text: str) -> str:
    return text if len(text) <= EXCERPT else text[: EXCERPT - len(_MORE)] + _MORE
