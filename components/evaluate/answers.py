"""Greedy answers to held-out instructions, judged, beside answers that need no model."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from components.conversations import render
from components.finetuning.records import conversation, read_records
from components.generation import answers
from components.statistics import Difference, clustered_stderr, paired_difference
from components.tasks import baseline_answers, has_verifier, judge
from core.errors import InputProblem

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

Record = Mapping[str, Any]
# A question as the beginning of a document, for a model that has learnt documents and no turns.
DOCUMENT = "{{ eos_token }}{{ messages[-1]['content'] }} Answer:"
_SHOWN = 10


@dataclass(frozen=True)
class Score:
    """A mean over ``n`` questions, its error clustered by the questions' group."""

    value: float
    stderr: float | None
    n: int


@dataclass(frozen=True)
class Judged:
    """One question with an answer and its verdict."""

    record: Record
    answer: str
    correct: bool
    terse: bool


def load(instructions: Path, limit: int, seed: int) -> tuple[list[Record], int]:
    """At most ``limit`` test instructions, drawn by seed and kept in order, and how many there are.

    No instructions at all (a workspace that only pretrains) are no error: the list is empty.

    Raises:
        InputProblem: rows have the wrong shape.
    """
    path = instructions / "test.jsonl"
    if not path.is_file() or not path.read_text(encoding="utf-8").strip():
        return [], 0
    records = read_records(instructions, "test", needs="prompt")
    if len(records) <= limit:
        return records, len(records)
    chosen = np.sort(np.random.default_rng(seed).choice(len(records), size=limit, replace=False))
    return [records[index] for index in chosen], len(records)


def require_room(tokenizer: PreTrainedTokenizerBase, records: Sequence[Record], context: int) -> None:
    """Raise an :class:`InputProblem` naming prompts that leave no room for an answer."""
    lengths = [len(ids) for ids in render(tokenizer, [conversation(record) for record in records])]
    long = [(record, length) for record, length in zip(records, lengths, strict=True) if length >= context]
    if long:
        where = "data/instructions/test.jsonl"
        listed = [f"{where}: a prompt of {n} tokens: {record['prompt'][:60]!r}" for record, n in long[:_SHOWN]]
        if len(long) > _SHOWN:
            listed.append(f"... and {len(long) - _SHOWN} more")
        raise InputProblem(
            [
                *listed,
                f"the model's context holds {context} tokens for prompt and answer: shorten the prompts, or pretrain "
                f"with a longer context",
            ]
        )


def answer(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    records: Sequence[Record],
    *,
    chat: bool,
    max_new_tokens: int,
    batch_size: int,
    seed: int,
    on_batch: Callable[[int], None],
) -> list[str]:
    """The model's most probable answer to each record, asked in its chat template or (``chat`` false) as a document."""
    if not chat:
        tokenizer = copy.copy(tokenizer)
        tokenizer.chat_template = DOCUMENT
    prompts = [conversation(record) if chat else record["prompt"] for record in records]
    replies = answers(
        model, tokenizer, prompts, max_new_tokens=max_new_tokens, seed=seed, batch_size=batch_size, on_batch=on_batch
    )
    return [reply[0] for reply in replies]


def judge_all(records: Iterable[Record], replies: Iterable[str]) -> list[Judged]:
    """Verdicts on the records that can be checked; the others are left out (and counted by the caller)."""
    judged = []
    for record, reply in zip(records, replies, strict=True):
        if has_verifier(record):
            verdict = judge(record, reply)
            judged.append(Judged(record, reply, verdict.correct, verdict.correct and verdict.terse))
    return judged


def baselines(instructions: Path, records: Sequence[Record]) -> dict[str, list[Judged]]:
    """What needs no model: the most common training answer of each kind, and fixed-place lookups."""
    path = instructions / "instruct.jsonl"
    trained = path.is_file() and path.read_text(encoding="utf-8").strip()
    training = read_records(instructions, "instruct", needs="prompt") if trained else []
    return {name: judge_all(records, given) for name, given in baseline_answers(training, records).items()}


def score(judged: Sequence[Judged], what: str = "correct") -> Score:
    """Mean of ``correct`` or ``terse`` (right *and* terse)."""
    values = [float(getattr(one, what)) for one in judged]
    return Score(float(np.mean(values)), clustered_stderr(values, [one.record["group"] for one in judged]), len(values))


def by_kind(judged: Sequence[Judged], what: str = "correct") -> dict[str, Score]:
    """:func:`score` of each kind of question, kinds in ABC order."""
    kinds = sorted({one.record["kind"] for one in judged})
    return {kind: score([one for one in judged if one.record["kind"] == kind], what) for kind in kinds}


def gain(judged: Sequence[Judged], baseline: Sequence[Judged]) -> Difference:
    """How much more often the model is right than the baseline, on the same questions."""
    return paired_difference(
        [one.correct for one in judged],
        [one.correct for one in baseline],
        [one.record["group"] for one in judged],
    )
