"""What is learnt from: pairs or labelled answers of ``data/instructions/preference.jsonl``, or its questions alone."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from components.contract import Context
from components.conversations import render
from components.finetuning.pairs import Pair, candidates, split_by_group
from components.finetuning.records import Record, conversation, has_pair
from components.finetuning.rewards import Rewarder
from components.finetuning.sampling import SavedModel
from components.finetuning.templates import encode_answers, fitting, shown_rightly
from components.preference_tune.kto import Labelled, has_label, labelled
from components.preference_tune.parameters import ONLINE
from components.tasks import has_verifier
from core.errors import InputProblem

FILE = "data/instructions/preference.jsonl"


def answers_are_measured(record: Record, method: str) -> bool:
    """Whether :func:`pairs`, :func:`answers` or :func:`questions` leave the record out if it is too long."""
    return method in ONLINE or has_pair(record) or (method == "kto" and has_label(record))


def pairs(
    context: Context,
    model: Any,
    tokenizer: Any,
    records: Sequence[Record],
    limit: int,
    rewarder: Rewarder | None,
    saved: SavedModel | None = None,
) -> tuple[list[Pair], list[Pair]]:
    """Pairs to train on and to measure on: the rows' own, or answers of ``model``, ranked.

    Args:
        saved: where copies of ``model`` on a cluster find it.

    Raises:
        InputProblem: rows bring no pair and nothing can rank answers to them, or too few pairs are left.
    """
    _require_ranking(records, rewarder, context.parameters.method)
    found = candidates(
        context, model, tokenizer, records, limit, name="preference_tune", file="preference", rewarder=rewarder,
        saved=saved,
    )  # fmt: skip
    training, held_out = split_by_group(found, context.parameters.held_out_share, context.seed)
    if not training or not held_out:
        raise InputProblem(
            f"{FILE}: {len(found)} pairs give {len(training)} to train on and {len(held_out)} to measure on; "
            "more prompts or pairs are needed, of more than one group, whose answers differ in quality"
        )
    return training, held_out


def answers(
    context: Context,
    model: Any,
    tokenizer: Any,
    records: Sequence[Record],
    limit: int,
    rewarder: Rewarder | None,
    saved: SavedModel | None = None,
) -> tuple[list[Labelled], list[Labelled]]:
    """Labelled answers to train on and to measure on: the rows' own, and both sides of the pairs of other rows.

    Args:
        saved: where copies of ``model`` on a cluster find it.

    Raises:
        InputProblem: rows bring neither label nor pair and nothing can rank answers to them; or good or bad answers
            are missing among those to train on or to measure on.
    """
    own = [record for record in records if has_label(record)]
    rest = [record for record in records if not has_label(record)]
    _require_ranking(rest, rewarder, "kto")
    if own:
        encoded = encode_answers(tokenizer, own, [each.answer for each in labelled(own, [])])
        places = shown_rightly(context, "preference", own, encoded.faults)
        lengths = list(map(len, encoded.whole().input_ids))
        own, lengths = [own[place] for place in places], [lengths[place] for place in places]
        sized = {"preference": (own, lengths)}
        [kept] = fitting(context, "preference_tune", sized, limit, what="question and answer")
        own = [own[place] for place in kept]
    drawn = (
        candidates(
            context,
            model,
            tokenizer,
            rest,
            limit,
            name="preference_tune",
            file="preference",
            rewarder=rewarder,
            saved=saved,
        )
        if rest
        else []
    )
    found = labelled(own, drawn)
    training, held_out = split_by_group(found, context.parameters.held_out_share, context.seed)
    for use, chosen in (("train", training), ("measure", held_out)):
        good = sum(answer.good for answer in chosen)
        if not 0 < good < len(chosen):
            raise InputProblem(
                f"{FILE}: {len(chosen)} answers to {use} on, {good} of them labelled good; kto needs good and bad ones "
                "of several groups"
            )
    return training, held_out


def questions(context: Context, tokenizer: Any, records: Sequence[Record], limit: int) -> list[Record]:
    """The records whose question leaves room for an answer of ``sampling.max_new_tokens``; what else they bring is not
    used, which a warning says."""
    room = context.parameters.sampling.max_new_tokens
    lengths = [len(ids) + room for ids in render(tokenizer, [conversation(record) for record in records])]
    sized = {"preference": (records, lengths)}
    [kept] = fitting(
        context, "preference_tune", sized, limit, what=f"question with an answer of sampling.max_new_tokens ({room}),"
    )  # fmt: skip
    if unused := sum(has_pair(record) or has_label(record) for record in records):
        context.warn(
            f"{FILE}: {unused} of {len(records)} rows bring pairs or labels, which {context.parameters.method} does "
            "not learn from; dpo and kto do"
        )
    return [records[place] for place in kept]


def _require_ranking(records: Sequence[Record], rewarder: Rewarder | None, method: str) -> None:
    """Raise where a row brings nothing to learn from and neither a verifier nor a reward model ranks answers to it."""
    if rewarder is not None:
        return
    bare = [record for record in records if not has_pair(record) and not has_verifier(record)]
    if not bare:
        return
    labels = sum(map(has_label, bare))
    what = "neither a label nor a pair" if method == "kto" else "no pair (`chosen` and `rejected`)"
    advice = (
        f"{labels} of them have labels: set preference_tune.method to kto"
        if labels
        else "add those, or run reward_model, which needs pairs in data/instructions/reward.jsonl"
    )
    raise InputProblem(
        f"{FILE}: {len(bare)} of {len(records)} rows (such as row {bare[0]['row']}) have {what}, and nothing ranks "
        f"answers to them, since they have no verifier and models/reward is empty; {advice}"
    )
