"""What a task is made of: the splits of its questions, what the stage curate takes of it, and what a verifier says."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import blake2b
from typing import Any

SPLITS = ("instruct", "reward", "preference", "development", "test")
"""Splits of the instruction data, in the order they are written."""


@dataclass(frozen=True)
class Judgement:
    """``rank``: 2 right and terse, 1 right and chatty, 0 wrong. ``terse`` says how it is worded, right or wrong."""

    correct: bool
    terse: bool
    rank: int


@dataclass
class TaskData:
    """What a task gives to the stage curate.

    Attributes:
        records: rows of ``data/instructions`` by split; those that can be judged name their verifier.
        documents: texts for the *training* split of the corpus, as fields of a curated document. They are
            near-duplicates of each other on purpose: do not deduplicate.
        held_out: kind and origin of the documents that must stay out of pretraining, since they answer the questions
            of a split other than instruct.
        report: counts for the data card.
    """

    records: dict[str, list[dict[str, Any]]]
    documents: list[dict[str, str]]
    held_out: set[tuple[str, str]]
    report: dict[str, Any]


def unit_hash(seed: int, purpose: str, key: str) -> float:
    """A number in [0, 1) that looks drawn at random and depends on the three arguments alone."""
    digest = blake2b(f"{seed}\0{purpose}\0{key}".encode("utf-8", "surrogatepass"), digest_size=8).digest()
    return (int.from_bytes(digest) >> 11) / 2**53  # 53 bits: what a float holds exactly, so 1.0 cannot come out


def choose_split(key: str, seed: int, shares: Mapping[str, float], rest: str, purpose: str = "split") -> str:
    """The split of ``key``: each of ``shares`` with its probability, ``rest`` otherwise.

    A pure function of the seed and the key, so that it never depends on the order of the rows.
    """
    position = unit_hash(seed, purpose, key)
    for split, share in shares.items():
        if position < share:
            return split
        position -= share
    return rest
