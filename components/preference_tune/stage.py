"""Preference tuning: the instruct model is both the policy that learns and the reference it is held to."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from components.contract import Context, Metric
from components.finetuning import adapters, lengths, sharding
from components.finetuning.memory import require_memory
from components.finetuning.models import context_length, load_causal, load_tokenizer, save
from components.finetuning.pairs import answered_lengths, for_development
from components.finetuning.records import read_files
from components.finetuning.rewards import load_rewarder, with_copies
from components.finetuning.sampling import SavedModel, as_saved, in_float32
from components.finetuning.templates import warn_of_control_tokens, with_room
from components.finetuning.training import Curve
from components.preference_tune import dpo, examples, kto, online, reference_free, rewards
from components.preference_tune.measure import MeasuredModel, Ordered, label_order, measure, pair_order
from components.preference_tune.own_reward import RewardFunction
from components.preference_tune.parameters import ONLINE
from components.preference_tune.report import write_report


def run(context: Context) -> None:
    """Tune ``models/instruct`` into ``models/assistant`` on ``data/instructions/preference.jsonl``."""
    require_memory(context.inputs["instruct"], context.parameters, "preference_tune")
    instruct = SavedModel(context.inputs["instruct"], in_float32)
    instruct.check(context)
    method = context.parameters.method
    names = ("preference", "development", "test")
    files = dict(zip(names, read_files(context.inputs["instructions"], names, needs="prompt"), strict=True))
    tokenizer = load_tokenizer(context.inputs["instruct"])
    reference = load_causal(context.inputs["instruct"])
    limit = context_length(reference, tokenizer, context.parameters.seq_length)
    warn_of_control_tokens(context, tokenizer, files)
    records, development, test = with_room(
        context, "preference_tune", tokenizer, files, limit,
        later=lambda name, row: name == "preference" and examples.answers_are_measured(row, method),
    )  # fmt: skip
    drawn, room = method in ONLINE, context.parameters.sampling.max_new_tokens
    limit = lengths.settle(context, limit, lambda: answered_lengths(tokenizer, records, room, drawn=drawn))
    rewarder = scorer = None  # the latter with copies on a cluster, which there are none of while a model trains
    if "reward" in context.inputs:  # of an empty folder nothing is read
        rewarder = load_rewarder(context.inputs["reward"], context.seed)
        scorer = with_copies(context, rewarder, context.inputs["reward"])

    earning: dict[str, RewardFunction] = {}
    training: Sequence[Any]
    held_out: Sequence[Any] = []
    watched: Sequence[Any] = []
    if method in ONLINE:
        training = examples.questions(context, tokenizer, records, limit)
        earning = rewards.build(
            context.parameters.rewards,
            context.inputs["instructions"].parents[1],
            {"preference": training, "development": development, "test": test},
            rewarder,
        )
    elif method == "kto":
        training, held_out = examples.answers(context, reference, tokenizer, records, limit, scorer, instruct)
        kto.warn_of_imbalance(context, training)
    else:
        training, held_out = examples.pairs(context, reference, tokenizer, records, limit, scorer, instruct)
    if method not in ONLINE:
        chosen_from: Sequence[Any] = training  # pairs, or with kto labelled answers
        training, watched = for_development(context, examples.FILE, chosen_from)
    sets = {"development": development, "test": test}
    before = {name: measure(context, f"instruct-{name}", reference, tokenizer, rows, scorer, earning, instruct)
              for name, rows in sets.items()}  # fmt: skip
    context.dismiss()
    adapter = context.parameters.adapter
    if adapter.type != "none":
        reference = None  # it is the policy without its adapter

    def load() -> Any:
        model = load_causal(context.inputs["instruct"], **adapters.loading(context.parameters))
        return adapters.attach(model, adapter, task="causal", seed=context.seed)

    assistant = load()
    curve = fit(context, assistant, reference, tokenizer, training, earning, watched)
    if adapter.type == "none":
        # The trainer has patched its model: measure and save a plain one with the same weights.
        policy = load_causal(context.inputs["instruct"])
        policy.load_state_dict(sharding.weights(assistant))
    else:
        policy = adapters.finished(sharding.whole(assistant, load), adapter)
    reference = load_causal(context.inputs["instruct"])
    if context.is_main:
        save(policy, tokenizer, context.outputs["model"], base=context.inputs["instruct"])
    # An adapter that stays one is measured as it is attached here; copies would add it to weights of another type.
    trained = None if adapters.is_attached(policy) else SavedModel(context.outputs["model"], as_saved)
    after = {name: measure(context, f"assistant-{name}", policy, tokenizer, rows, scorer, earning, trained)
             for name, rows in sets.items()}  # fmt: skip
    if not context.is_main:
        return
    ordered = None
    if held_out:
        ordered = (label_order if method == "kto" else pair_order)(policy, reference, tokenizer, held_out)
    _record(context, before, after, ordered)
    write_report(context, curve, training, held_out, sets, before, after, ordered)


def fit(
    context: Context,
    policy: Any,
    reference: Any,
    tokenizer: Any,
    training: Sequence[Any],
    earning: dict[str, RewardFunction],
    development: Sequence[Any] = (),
) -> Curve:
    """Train ``policy`` in place by the method of the parameters.

    ``development`` is what ``evaluate_every`` measures.
    """
    method = context.parameters.method
    if method in ONLINE:
        return online.fit(context, policy, reference, tokenizer, training, earning)
    if method == "dpo":
        return dpo.fit(context, policy, reference, tokenizer, training, development)
    if method == "kto":
        return kto.fit(context, policy, reference, tokenizer, training, development)
    return reference_free.fit(context, policy, tokenizer, training, development)


def _record(
    context: Context, before: dict[str, MeasuredModel], after: dict[str, MeasuredModel], ordered: Ordered | None
) -> None:
    old, new = before["test"], after["test"]
    for set_name in ("test", "development"):
        prefix = "" if set_name == "test" else "development_"
        for way in ("greedy", "sampled"):
            was, now = getattr(before[set_name], way), getattr(after[set_name], way)
            if was is None or now is None:
                continue
            suffix = "" if way == "greedy" else "_sampled"
            for name, base, own in (
                ("correct_and_terse", was.terse, now.terse),
                ("accuracy", was.correct, now.correct),
            ):
                context.record(
                    Metric(f"{prefix}{name}{suffix}", own.value, True, own.stderr, own.n, "instructions",
                           {"instruct": base.value}),
                    headline=(prefix, name, suffix) == ("", "correct_and_terse", ""),
                )  # fmt: skip
        for name, own in after[set_name].earned.items():
            context.record(
                Metric(f"{prefix}earned_{name}", own.value, True, own.stderr, own.n, "instructions",
                       {"instruct": before[set_name].earned[name].value}),
                headline=prefix == "" and context.headline is None,
            )  # fmt: skip
    if ordered is not None:
        context.record(
            Metric("preference_accuracy", ordered.accuracy.value, True, ordered.accuracy.stderr, ordered.accuracy.n,
                   "instructions", {"reference_log_probability": ordered.reference.value}),
            headline=context.headline is None and new.reward is None,
        )  # fmt: skip
        context.record(
            Metric("answer_loss", ordered.loss, False, None, ordered.accuracy.n, "instructions",
                   {"instruct": ordered.reference_loss})
        )  # fmt: skip
    if old.reward is None or new.reward is None:
        return
    context.record(
        Metric("reward", new.reward.value, True, new.reward.stderr, new.reward.n, "instructions",
               {"instruct": old.reward.value})
    )  # fmt: skip
    wins = 0.5 + 0.5 * np.sign(np.subtract(new.rewards, old.rewards))
    context.record(
        Metric("reward_win_rate", float(wins.mean()), True, None, len(wins), "instructions", {"instruct": 0.5}),
        headline=context.headline is None,
    )
