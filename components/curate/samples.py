"""What the card shows of the documents themselves, as ``samples.json``: bounded samples of bounded excerpts.

Documents of every split, changes with the text before and after, and beside each near-duplicate what it repeats.
Excerpts are redacted whatever the parameters keep.
"""

from __future__ import annotations

import bisect
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from components.contract import Context
from components.curate.deduplication.signatures import shingles
from components.curate.judging import conceal
from components.curate.ledger import EXCERPT, Ledger, excerpt
from core.files import write_json

DOCUMENTS = 40  # of a split
QUESTIONS = 5
_SHOWN = ("source", "kind", "group", "license", "origin", "language")
_REPEATS = re.compile(r"repeats (.+) \(similarity [\d.]+\)")


class Smallest:
    """The documents with the smallest content hashes: random-looking, and the same in any order."""

    def __init__(self) -> None:
        self._documents: list[tuple[str, int, dict[str, Any]]] = []
        self._questions: list[tuple[str, int, dict[str, Any]]] = []
        self._count = 0

    def add(self, row: dict[str, Any]) -> None:
        """Keep a row, if it is among them."""
        question = row["kind"] == "question"
        sample, most = (self._questions, QUESTIONS) if question else (self._documents, DOCUMENTS)
        if len(sample) < most or row["id"] < sample[-1][0]:
            self._count += 1
            size = len(row["text"])
            shown = {**row, "text": row["text"][: 2 * EXCERPT], "characters": size}  # a document may be large
            bisect.insort(sample, (row["id"], self._count, shown))
            del sample[most:]

    def rows(self) -> list[dict[str, Any]]:
        """What is shown of them."""
        return [
            {
                **{name: row[name] for name in _SHOWN if row.get(name) is not None},
                "scores": {name: round(value, 3) for name, value in row.items() if isinstance(value, float)},
                **{name: round(value, 3) for name, value in row.items() if isinstance(value, float)},
                "characters": row["characters"],
                "text": excerpt(row["text"], conceal),
            }
            for _, _, row in [*self._documents, *self._questions]
        ]


def write(context: Context, ledger: Ledger, splits: dict[str, Smallest]) -> None:
    """Write ``samples.json``."""
    dropped = ledger.examples("near_duplicate")
    repeated = [found[1] if (found := _REPEATS.fullmatch(each["reason"])) else None for each in dropped]
    texts: dict[str, list[str]] = {}
    for name, text in _of_origins(context.outputs["corpus"], {origin for origin in repeated if origin}):
        texts.setdefault(name, []).append(text)
    pairs = []
    for each, origin in zip(dropped, repeated, strict=True):
        if origin is not None and origin in texts:  # otherwise it is held out
            words = shingles(each["text"], 1)
            # Several documents may be of one origin.
            other = max(texts[origin], key=lambda text: len(words & shingles(text, 1)) / len(words | shingles(text, 1)))
            pairs.append({**each, "of": origin, "of_text": excerpt(other, conceal)})
    body = {
        "splits": {split: sample.rows() for split, sample in splits.items()},
        "changes": ledger.changes(),
        "near_duplicates": pairs,
        "bounds": {"documents": DOCUMENTS, "characters": EXCERPT, "examples": context.parameters.examples},
    }
    if context.is_main:
        write_json(context.outputs["report"] / "samples.json", body)


def _of_origins(corpus: Path, origins: set[str]) -> Iterator[tuple[str, str]]:
    """Texts of the documents from these origins; only row groups that hold one are read."""
    if not origins:
        return
    wanted = pa.array(sorted(origins), pa.string())
    for path in sorted(corpus.glob("*.parquet")):
        with pq.ParquetFile(path) as file:
            for group in range(file.num_row_groups):
                found = pc.is_in(file.read_row_group(group, ["origin"])["origin"], wanted)
                if pc.any(found).as_py():
                    for row in file.read_row_group(group, ["origin", "text"]).filter(found).to_pylist():
                        yield row["origin"], row["text"]
