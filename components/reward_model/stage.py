"""Reward model: Bradley-Terry training on pairs of answers, ranked by the verifier or by the user."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from components.contract import Context, Metric
from components.finetuning import adapters, families, lengths, sharding
from components.finetuning.memory import require_memory
from components.finetuning.models import (
    context_length,
    give_padding,
    load_causal,
    load_reward_model,
    load_tokenizer,
    save,
)
from components.finetuning.pairs import Pair, answered_lengths, candidates, for_development, split_by_group
from components.finetuning.records import Record, has_pair, read_records, shortened
from components.finetuning.rewards import encode_answered, rewards
from components.finetuning.sampling import SavedModel, in_float32
from components.finetuning.templates import install_template, warn_of_control_tokens, with_room
from components.finetuning.training import Curve, arguments, train
from components.reward_model.baselines import shorter_wins, surface_features
from components.reward_model.report import write_report
from components.statistics import clustered_stderr
from components.tasks import has_verifier
from core.errors import InputProblem

_FILE = "data/instructions/reward.jsonl"


def run(context: Context) -> None:
    """Train ``models/reward`` from the model that ``init`` names on ``data/instructions/reward.jsonl``."""
    source = context.inputs[context.parameters.init]
    require_memory(source, context.parameters, "reward_model")
    draws = families.require(source, "reward_model").kind == "decoder"
    records = _records(context, draws)
    tokenizer = load_tokenizer(source)
    pairs, prompts = (_drawn if draws else _given)(context, source, tokenizer, records)
    training, held_out = split_by_group(pairs, context.parameters.held_out_share, context.seed)
    if not training or not held_out:
        raise InputProblem(
            f"{_FILE}: {len(pairs)} pairs give {len(training)} to train on and {len(held_out)} to measure on; "
            "more prompts or pairs are needed, of more than one group, whose answers differ in quality"
        )
    training, development = for_development(context, _FILE, training)

    adapter = context.parameters.adapter

    def load() -> Any:
        model = load_reward_model(source, context.seed, **adapters.loading(context.parameters))
        return adapters.attach(model, adapter, task="classification", seed=context.seed)

    model = load()
    curve = fit(context, model, tokenizer, training, development)
    model = adapters.finished(sharding.whole(model, load), adapter)
    if not context.is_main:
        return
    save(model, tokenizer, context.outputs["model"], base=source)
    chosen, rejected = (score_side(model, tokenizer, held_out, side) for side in ("chosen", "rejected"))
    verdicts = {
        "reward model": 0.5 + 0.5 * np.sign(np.subtract(chosen, rejected)),
        "shorter_wins": shorter_wins(held_out),
        "surface_features": surface_features(training, held_out, context.seed),
    }
    _record(context, held_out, verdicts)
    write_report(context, curve, training, held_out, verdicts, np.subtract(chosen, rejected), prompts)


def fit(context: Context, model: Any, tokenizer: Any, pairs: Sequence[Pair], development: Sequence[Pair] = ()) -> Curve:
    """Train ``model`` in place, so that it scores each pair's chosen answer above the rejected one.

    ``development`` pairs are what ``evaluate_every`` measures.
    """
    from datasets import Dataset
    from trl import RewardConfig, RewardTrainer

    def rows(pairs: Sequence[Pair]) -> Dataset:
        chosen, rejected = (encoded_side(tokenizer, pairs, side) for side in ("chosen", "rejected"))
        return Dataset.from_dict({"chosen_ids": chosen, "rejected_ids": rejected})

    training = rows(pairs)
    settings = arguments(context, RewardConfig, context.parameters, disable_dropout=True)
    return train(
        context,
        RewardTrainer,
        context.parameters,
        description="reward_model",
        model=model,
        lengths=[max(len(a), len(b)) for a, b in zip(training["chosen_ids"], training["rejected_ids"], strict=True)],
        train_dataset=training,
        development=rows(development) if development else None,
        args=settings,
        processing_class=tokenizer,
    )


def encoded_side(tokenizer: Any, pairs: Sequence[Pair], side: str) -> list[list[int]]:
    """Token ids of each pair's question with its ``chosen`` or ``rejected`` answer."""
    return encode_answered(tokenizer, [p.record for p in pairs], [getattr(p, side) for p in pairs])[0]


def score_side(model: Any, tokenizer: Any, pairs: Sequence[Pair], side: str) -> list[float]:
    """Reward of each pair's ``chosen`` or ``rejected`` answer."""
    return rewards(model, encoded_side(tokenizer, pairs, side), pad=tokenizer.pad_token_id)


def _drawn(context: Context, source: Path, tokenizer: Any, records: list[Record]) -> tuple[list[Pair], int]:
    """The records' own pairs and those of answers that the decoder in ``source`` gives to others; and of how many."""
    install_template(tokenizer, "chat")
    saved = SavedModel(source, in_float32)
    saved.check(context)
    policy = load_causal(source)
    limit = context_length(policy, tokenizer, context.parameters.seq_length)
    warn_of_control_tokens(context, tokenizer, {"reward": records})
    [records] = with_room(
        context, "reward_model", tokenizer, {"reward": records}, limit, later=lambda _, row: has_pair(row)
    )
    room = context.parameters.sampling.max_new_tokens
    limit = lengths.settle(context, limit, lambda: answered_lengths(tokenizer, records, room))
    pairs = candidates(context, policy, tokenizer, records, limit, name="reward_model", file="reward", saved=saved)
    context.dismiss()
    return pairs, len(records)


def _given(context: Context, source: Path, tokenizer: Any, records: list[Record]) -> tuple[list[Pair], int]:
    """As :func:`_drawn` for the encoder in ``source``, which draws none and reads question and answer as two texts.

    Its tokenizer is saved without the names of inputs that it is not trained on (BERT's token types), so that whoever
    loads it gives the model what it has seen.
    """
    give_padding(tokenizer, source)
    tokenizer.chat_template = None
    tokenizer.model_input_names = tokenizer.init_kwargs["model_input_names"] = ["input_ids", "attention_mask"]
    limit = context_length(load_reward_model(source, context.seed), tokenizer, context.parameters.seq_length)
    limit = lengths.settle(context, limit, lambda: answered_lengths(tokenizer, records, 0))
    tokenizer.model_max_length = limit
    return candidates(context, None, tokenizer, records, limit, name="reward_model", file="reward"), len(records)


def _records(context: Context, draws: bool) -> list[Record]:
    records = read_records(context.inputs["instructions"], "reward", needs="prompt")
    needed = "`chosen` and `rejected`, or a verifier" if draws else "`chosen` and `rejected`, as only a decoder answers"
    unranked = [
        f"{_FILE}, row {record['row']}: nothing ranks its answers: it needs {needed}"
        for record in records
        if not (draws and has_verifier(record)) and not has_pair(record)
    ]
    if unranked:
        raise InputProblem(shortened(unranked, "rows without a ranking"))
    return records


def _record(context: Context, pairs: Sequence[Pair], verdicts: dict[str, NDArray[np.float64]]) -> None:
    groups = [pair.record["group"] for pair in pairs]
    within = np.array([bool(pair.same_style) for pair in pairs])
    for name, chosen in (("accuracy", np.ones(len(pairs), bool)), ("accuracy_within_style", within)):
        if not chosen.any():
            continue
        own = verdicts["reward model"][chosen]
        beside = {other: float(v[chosen].mean()) for other, v in verdicts.items() if other != "reward model"}
        stderr = clustered_stderr(own, [group for group, picked in zip(groups, chosen, strict=True) if picked])
        context.record(
            Metric(name, float(own.mean()), True, stderr, int(chosen.sum()), "instructions", beside),
            headline=name == "accuracy",
        )
