"""Documents of a corpus: a sample by seed, and those that hold a phrase."""

from __future__ import annotations

import hashlib
import heapq
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any

import pyarrow.compute as pc

from components.corpora.shards import Corpus
from core.errors import InputProblem

AROUND = 200  # characters on either side of a phrase


@dataclass(frozen=True)
class Hit:
    """A document that holds a phrase.

    Attributes:
        times: how often.
        before, phrase, after: the first time, with what stands around it.
    """

    split: str
    source: str
    origin: str
    id: str
    times: int
    before: str
    phrase: str
    after: str

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


def sample(corpus: Corpus, count: int, seed: int, split: str | None = None) -> list[dict[str, Any]]:
    """So many documents of a split, or of all: rows with their ``split``.

    Those with the smallest hash of seed and content hash: the same ones wherever they stand in the corpus, and mostly
    the same ones in a corpus that has changed a little.

    Raises:
        InputProblem: there is no such split.
    """
    corpus.require_split(split)
    smallest = heapq.nsmallest(count, _ordered(corpus, seed, split))
    rows = corpus.rows([number for _, number in smallest])
    return [rows[number] for _, number in smallest]


def dropped(report: dict[str, Any] | None, name: str, rule: str, count: int, seed: int) -> list[dict[str, Any]]:
    """So many of the documents that the report of ``curate`` keeps of those that a rule dropped.

    Raises:
        InputProblem: there is no report, or no such rule in it.
    """
    if report is None:
        raise InputProblem(f"{name} has no report beside it, so what was dropped is not known; name a run or a version")
    kept = {each["rule"]: each["examples"] for each in report["rules"]}
    if rule not in kept:
        raise InputProblem(
            f"{name}: no rule {rule!r} dropped anything; there are {', '.join(kept) if kept else 'none that did'}"
        )
    if not kept[rule]:
        raise InputProblem(f"{name}: no example of {rule} was kept; set curate.examples and run curate again")
    ordered = sorted(kept[rule], key=lambda each: hashlib.blake2b(f"{seed} {each['origin']}".encode()).digest())
    return [{"rule": rule, **each} for each in ordered[:count]]


def search(
    corpus: Corpus, phrase: str, count: int, split: str | None = None, *, exact: bool = False
) -> tuple[list[Hit], int]:
    """The first documents, in the order of the corpus, that hold a phrase.

    Args:
        count: reading ends after so many.
        exact: in this case of letters alone.

    Returns:
        The documents, and how many were looked through.

    Raises:
        InputProblem: there is no such split.
    """
    corpus.require_split(split)
    found: list[Hit] = []
    seen = 0
    for part in corpus.slices(["id", "text", "source", "origin"], split):
        holds = pc.match_substring(part.batch["text"], phrase, ignore_case=not exact)
        places = pc.indices_nonzero(holds)
        for place, row in zip(places.to_pylist(), part.batch.take(places).to_pylist(), strict=True):
            found.append(_hit(part.split, row, phrase, exact))
            if len(found) == count:
                return found, seen + place + 1
        seen += part.batch.num_rows
    return found, seen


def _ordered(corpus: Corpus, seed: int, split: str | None) -> Iterator[tuple[bytes, int]]:
    for part in corpus.slices(["id"], split):
        for number, identifier in enumerate(part.batch["id"].to_pylist(), part.first):
            yield hashlib.blake2b(f"{seed} {identifier}".encode(), digest_size=8).digest(), number


def _hit(split: str, row: dict[str, Any], phrase: str, exact: bool) -> Hit:
    text: str = row["text"]
    # Lower case can be longer than what it is of (İ), so places in it are looked up in the text itself.
    folded, wanted = (text, phrase) if exact else (_lower(text), _lower(phrase))
    place = max(folded.find(wanted), 0)
    end = place + len(phrase)
    return Hit(
        split, row.get("source") or "-", row.get("origin") or "-", row["id"], max(folded.count(wanted), 1),
        text[max(place - AROUND, 0) : place], text[place:end], text[end : end + AROUND],
    )  # fmt: skip


def _lower(text: str) -> str:
    """In lower case, sign by sign, so that places stay."""
    lowered = text.lower()
    return lowered if len(lowered) == len(text) else "".join(c.lower() if len(c.lower()) == 1 else c for c in text)
