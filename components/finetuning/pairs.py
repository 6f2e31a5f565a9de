"""Pairs of a better and a worse answer to one question."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import sha256

from components.finetuning.records import Record, has_pair
from components.tasks import has_verifier, judge


@dataclass(frozen=True)
class Pair:
    """Two answers to ``record``'s question.

    Attributes:
        same_style: both are worded alike (terse or chatty), so that the wording cannot tell them apart; None where
            there is no verifier to say so.
    """

    record: Record
    chosen: str
    rejected: str
    same_style: bool | None


def ranked_pairs(record: Record, answers: Sequence[str], values: Sequence[float], most: int) -> list[Pair]:
    """At most ``most`` pairs of distinct answers of different value, the widest differences first.

    ``values`` are ranks by the verifier or rewards; a higher one is better.
    """
    distinct = {answer: value for answer, value in sorted(zip(answers, values, strict=True), key=lambda p: p[0])}
    found = [
        (better, worse)
        for better, high in distinct.items()
        for worse, low in distinct.items()
        if high > low and better.strip() and better.strip() != worse.strip()
    ]
    # Ties are broken by content, not by the order of the draws.
    found.sort(key=lambda p: (distinct[p[1]] - distinct[p[0]], sha256("\0".join(p).encode()).digest()))
    return [Pair(record, better, worse, _same_style(record, better, worse)) for better, worse in found[:most]]


def user_pairs(records: Sequence[Record]) -> list[Pair]:
    """The pairs that the user's records bring."""
    return [
        Pair(r, r["chosen"], r["rejected"], _same_style(r, r["chosen"], r["rejected"])) for r in records if has_pair(r)
    ]


def by_verifier(record: Record, answers: Sequence[str]) -> list[float]:
    """Rank of each answer: 2 right and terse, 1 right and chatty, 0 wrong."""
    return [float(judge(record, answer).rank) for answer in answers]


def split_by_group(pairs: Sequence[Pair], share: float, seed: int) -> tuple[list[Pair], list[Pair]]:
    """Training and held-out pairs; pairs of one group stay together. ``share`` of the groups is held out."""
    held_out: dict[str, bool] = {}
    for pair in pairs:
        group = pair.record["group"]
        if group not in held_out:
            digest = sha256(f"{seed}/held-out/{group}".encode()).digest()
            held_out[group] = int.from_bytes(digest[:8], "big") < share * 2**64
    train = [pair for pair in pairs if not held_out[pair.record["group"]]]
    return train, [pair for pair in pairs if held_out[pair.record["group"]]]


def _same_style(record: Record, a: str, b: str) -> bool | None:
    return judge(record, a).terse == judge(record, b).terse if has_verifier(record) else None
