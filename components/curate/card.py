"""The data card: everything that happened to the text, as ``report.json``, with samples beside it."""

from __future__ import annotations

import hashlib
import re
import sys
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from components.contract import Context
from components.curate import samples
from components.curate.documents import ShardWriter
from components.curate.filters import classifiers, perplexity
from components.curate.filters.quality import RULES as QUALITY_RULES
from components.curate.ledger import Ledger
from components.curate.samples import Smallest
from components.curate.splitting import SplitAssignment

_SHOWN = 20  # files that are named
_MOST_SKIPPED = 50  # kinds that are named
LENGTH_EDGES = (0, 50, 100, 200, 400, 800, 1600, 3200, 6400, 12800)  # characters


class Distinct:
    """Counts different texts by 64 bits of their hashes: 8 bytes each, and more only while they are put together."""

    def __init__(self) -> None:
        self._known, self._new = np.empty(0, np.uint64), set[int]()

    def add(self, text: str) -> None:
        self._new.add(hash(text) & 0xFFFFFFFFFFFFFFFF)
        if len(self._new) >= 1 << 18:
            self._put_together()

    def __len__(self) -> int:
        self._put_together()
        return len(self._known)

    def _put_together(self) -> None:
        self._known = np.union1d(self._known, np.fromiter(self._new, np.uint64, len(self._new)))
        self._new.clear()


@dataclass
class SplitCounts:
    """What went to one split."""

    documents: int = 0
    characters: int = 0
    questions: int = 0
    kinds: Counter[str] = field(default_factory=Counter)
    kind_characters: Counter[str] = field(default_factory=Counter)
    licenses: Counter[str] = field(default_factory=Counter)
    groups: Distinct = field(default_factory=Distinct)
    lengths: Counter[int] = field(default_factory=Counter)
    sources: Counter[str] = field(default_factory=Counter)
    languages: Counter[str] = field(default_factory=Counter)
    sample: Smallest = field(default_factory=Smallest)
    bytes: int = 0
    digest: str = ""
    shards: list[str] = field(default_factory=list)

    def add(self, row: dict[str, Any]) -> None:
        """Count a row; questions made for pretraining are counted apart from curated text."""
        size = len(row["text"])
        self.sample.add(row)
        self.sources[row["source"]] += size
        self.kinds[row["kind"]] += 1
        self.kind_characters[row["kind"]] += size
        self.licenses[row["license"]] += 1
        if row["kind"] == "question":
            self.questions += 1
            return
        self.documents += 1
        self.characters += size
        self.groups.add(row["group"])
        self.lengths[max(edge for edge in LENGTH_EDGES if edge <= size)] += 1
        if language := row.get("language"):
            self.languages[language] += 1

    def close(self, writer: ShardWriter) -> None:
        """Take over what the writer knows once its files have their names."""
        self.bytes, self.digest, self.shards = writer.bytes, writer.digest, writer.files


# Rules in the order in which a document meets them; those about n-grams are ordered by n as well.
RULE_ORDER = (
    "commented_out_code",
    "empty",
    "language",
    *QUALITY_RULES,
    perplexity.RULE,
    "repeated_lines",
    "exact_duplicate",
    "near_duplicate",
    "repeated_passages",
    "held_out_by_task",
    "held_out_relative",
    "contaminated",
)


def _rank(rule: str) -> tuple[int, int]:
    if rule.startswith(classifiers.RULE):  # after the rules of quality, in the order of their names
        return RULE_ORDER.index(perplexity.RULE), 1
    name, n = re.sub(r"\d+", "n", rule), re.search(r"\d+(?=_gram)", rule)
    return RULE_ORDER.index(rule if rule in RULE_ORDER else name), int(n.group()) if n else 0


def _flow(ledger: Ledger) -> list[dict[str, object]]:
    """Counts in and out of each rule, in the order of the pipeline."""
    remaining = sum(ledger.read.values())
    flow: list[dict[str, object]] = []
    for rule in sorted(ledger.dropped, key=lambda rule: (_rank(rule), rule)):
        count, size = ledger.dropped[rule], ledger.dropped_characters[rule]
        flow.append({"rule": rule, "in": remaining, "dropped": count, "out": remaining - count,
                     "dropped_characters": size, "examples": ledger.examples(rule)})  # fmt: skip
        remaining -= count
    return flow


def _skipped(ledger: Ledger) -> dict[str, int]:
    """Parts of files without a document, by what they are; their names are their makers', so there may be very many."""
    found = dict(sorted(ledger.skipped.items(), key=lambda item: (-item[1], item[0]))[:_MOST_SKIPPED])
    others = ledger.skipped.total() - sum(found.values())
    return {**dict(sorted(found.items())), **({"others": others} if others else {})}


def _languages(ledger: Ledger, splits: dict[str, SplitCounts]) -> list[dict[str, Any]]:
    """Documents read and kept by language, the commonest first."""
    kept = sum((counts.languages for counts in splits.values()), Counter[str]())
    read = Counter(ledger.languages)
    codes = sorted({*read, *kept}, key=lambda code: (-read[code], code))
    return [{"language": code, "read": read[code], "kept": kept[code]} for code in codes]


def _encodings(ledger: Ledger) -> dict[str, dict[str, Any]]:
    """Files that are not UTF-8, by encoding: how many, and the first of them."""
    found: dict[str, list[str]] = {}
    for file, name in sorted(ledger.encodings.items()):
        found.setdefault(name, []).append(file)
    return {name: {"files": len(files), "first": files[:_SHOWN]} for name, files in sorted(found.items())}


def build(
    context: Context,
    ledger: Ledger,
    assignment: SplitAssignment,
    largest_groups: list[str],
    splits: dict[str, SplitCounts],
    instructions_report: dict[str, Any],
    labels_report: dict[str, Any],
    decontamination: dict[str, Any] | None,
    models: Sequence[classifiers.Classifier] = (),
    buckets: perplexity.PerplexityBuckets | None = None,
) -> dict[str, float]:
    """Write ``report.json`` and ``samples.json``; return the numbers that become metrics."""
    read = sum(ledger.read.values())
    kept = sum(counts.documents for counts in splits.values())
    duplicates = ledger.dropped["exact_duplicate"] + ledger.dropped["near_duplicate"]
    metrics = {
        "documents_read": read,
        "documents_kept": kept,
        "share_kept": kept / max(read, 1),
        "duplicate_share": duplicates / max(read, 1),
        "characters_kept": sum(counts.characters for counts in splits.values()),
        "question_documents": sum(counts.questions for counts in splits.values()),
        **{f"{split}_documents": counts.documents for split, counts in splits.items()},
    }
    corpus_digest = hashlib.sha256("".join(f"{s}\n{c.digest}\n" for s, c in splits.items()).encode()).hexdigest()
    report = {
        "corpus_digest": corpus_digest,
        "python": sys.version.split()[0],
        "seed": context.seed,
        "metrics": metrics,
        "sources": [
            {"name": name, "documents": ledger.read[name], "characters": ledger.read_characters[name]}
            for name in sorted(ledger.read)
        ],
        "notes": ledger.notes,
        "quality": {
            "profile": context.parameters.quality.profile, "own_values": context.parameters.quality.own(),
        },
        "languages": _languages(ledger, splits),
        "classifiers": classifiers.report(models, ledger.scores, ledger.dropped),
        "perplexity": perplexity.report(buckets, ledger.scores, ledger.dropped),
        "rules": _flow(ledger),
        "changes": dict(sorted(ledger.changed.items())),
        "skipped": _skipped(ledger),
        "encodings": _encodings(ledger),
        "broken_rows": [
            {"file": name, "rows": tally.rows, "broken": tally.broken, "examples": tally.examples}
            for name, tally in sorted(ledger.files.items())
            if tally.broken
        ],
        "splits": {
            split: {
                "documents": counts.documents, "characters": counts.characters, "question_documents": counts.questions,
                "groups": len(counts.groups), "kinds": dict(sorted(counts.kinds.items())),
                "kind_characters": dict(sorted(counts.kind_characters.items())),
                "licenses": dict(sorted(counts.licenses.items())),
                "source_characters": dict(sorted(counts.sources.items())),
                "languages": dict(sorted(counts.languages.items())),
                "lengths": {str(edge): counts.lengths[edge] for edge in LENGTH_EDGES},
                "bytes": counts.bytes, "digest": counts.digest, "shards": counts.shards,
            }
            for split, counts in splits.items()
        },
        "clusters": {
            "count": assignment.clusters,
            "largest_documents": assignment.largest_documents,
            "largest_share": round(assignment.largest_share, 6),
            "largest_groups": largest_groups,
            "outsized_in_train": assignment.outsized,
        },
        "instructions": instructions_report,
        "labels": labels_report,
        "decontamination": decontamination,
        # Where it was made says nothing of what was made.
        "parameters": context.parameters.model_dump(mode="json", exclude={"engine"}),
    }  # fmt: skip
    context.report(report)
    samples.write(context, ledger, {split: counts.sample for split, counts in splits.items()})
    return metrics
