"""Preference tuning by DPO: the instruct model is both the policy that learns and the reference it is held to."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from components.contract import Context, Metric
from components.finetuning import adapters
from components.finetuning.models import context_length, load_causal, load_reward_model, load_tokenizer, save
from components.finetuning.pairs import Pair, candidates, split_by_group
from components.finetuning.records import Record, read_files
from components.finetuning.sampling import answer_records
from components.finetuning.scoring import AnswerScores, checkable, likelihood, rewards, score
from components.finetuning.templates import encode_answers, warn_of_control_tokens, with_room
from components.finetuning.training import Curve, arguments, train
from components.preference_tune.report import write_report
from components.statistics import Estimate, estimate
from core.errors import InputProblem

_FILE = "data/instructions/preference.jsonl"


@dataclass(frozen=True)
class MeasuredModel:
    """One model on one set of questions.

    Attributes:
        greedy, sampled: the verifier's scores of greedy and of drawn answers; None where no question has a verifier.
        reward: mean reward of the greedy answers by the reward model.
        answers: the greedy answers.
    """

    greedy: AnswerScores | None
    sampled: AnswerScores | None
    reward: Estimate
    rewards: list[float]
    answers: list[str]


def run(context: Context) -> None:
    """Tune ``models/instruct`` into ``models/assistant`` on ``data/instructions/preference.jsonl``."""
    names = ("preference", "development", "test")
    files = dict(zip(names, read_files(context.inputs["instructions"], names, needs="prompt"), strict=True))
    tokenizer = load_tokenizer(context.inputs["instruct"])
    reference = load_causal(context.inputs["instruct"])
    limit = context_length(reference, tokenizer, context.parameters.seq_length)
    warn_of_control_tokens(context, tokenizer, files)
    records, development, test = with_room(context, "preference_tune", tokenizer, files, limit)
    reward_model = load_reward_model(context.inputs["reward"], context.seed)

    pairs = candidates(
        context,
        reference,
        tokenizer,
        records,
        limit,
        name="preference_tune",
        file="preference",
        reward_model=reward_model,
    )
    training, held_out = split_by_group(pairs, context.parameters.held_out_share, context.seed)
    if not training or not held_out:
        raise InputProblem(
            f"{_FILE}: {len(pairs)} pairs give {len(training)} to train on and {len(held_out)} to measure on; "
            "more prompts or pairs are needed, of more than one group, whose answers differ in quality"
        )
    sets = {"development": development, "test": test}
    before = {name: measure(context, f"instruct-{name}", reference, tokenizer, rows, reward_model)
              for name, rows in sets.items()}  # fmt: skip
    adapter = context.parameters.adapter
    assistant = load_causal(context.inputs["instruct"], **adapters.loading(context.parameters))
    assistant = adapters.attach(assistant, adapter, task="causal", seed=context.seed)
    curve = fit(context, assistant, reference, tokenizer, training)
    if adapter.type == "none":
        # The trainer has patched its model: measure and save a plain one with the same weights.
        policy = load_causal(context.inputs["instruct"])
        policy.load_state_dict(assistant.state_dict())
    else:
        policy = adapters.finished(assistant, adapter)
    reference = load_causal(context.inputs["instruct"])
    after = {name: measure(context, f"assistant-{name}", policy, tokenizer, rows, reward_model)
             for name, rows in sets.items()}  # fmt: skip
    if not context.is_main:
        return
    save(policy, tokenizer, context.outputs["model"], base=context.inputs["instruct"])
    preference, raw = preference_accuracy(policy, reference, tokenizer, held_out)
    _record(context, before, after, preference, raw)
    write_report(context, curve, training, held_out, sets, before, after, preference, raw)


def fit(context: Context, policy: Any, reference: Any, tokenizer: Any, pairs: Sequence[Pair]) -> Curve:
    """Train ``policy`` in place on the pairs, held to ``reference``."""
    from datasets import Dataset
    from trl import DPOConfig, DPOTrainer

    class TokenWeighted(DPOTrainer):  # type: ignore[misc]
        """DPO in which the sft loss, a mean over tokens, is that of the whole batch however it is cut into parts.

        TRL takes the mean over each part's tokens and averages the parts: a part of short answers counts too much.
        """

        def get_batch_samples(self, *args: Any, **kwargs: Any) -> Any:
            parts, items = super().get_batch_samples(*args, **kwargs)
            mine = sum(map(_chosen_tokens, parts)).to(self.accelerator.device)
            everywhere = int(self.accelerator.gather(mine).sum())
            self.mean_tokens = everywhere / (len(parts) * self.accelerator.num_processes)
            return parts, items

        def compute_loss(self, model: Any, inputs: Any, *args: Any, **kwargs: Any) -> Any:
            share = int(_chosen_tokens(inputs)) / self.mean_tokens
            self.loss_weights = [
                weight * share if loss == "sft" else weight
                for loss, weight in zip(parameters.losses, parameters.loss_weights, strict=True)
            ]
            return super().compute_loss(model, inputs, *args, **kwargs)

    parameters = context.parameters
    chosen, rejected = (
        encode_answers(tokenizer, [p.record for p in pairs], [getattr(p, side) for p in pairs])
        for side in ("chosen", "rejected")
    )
    settings = arguments(
        context, DPOConfig, parameters, beta=parameters.beta, loss_type=list(parameters.losses),
        loss_weights=list(parameters.loss_weights), disable_dropout=True,
    )  # fmt: skip
    return train(
        context,
        TokenWeighted,
        parameters,
        description="preference_tune",
        model=policy,
        lengths=[
            len(prompt) + max(len(better), len(worse))
            for prompt, better, worse in zip(chosen.prompts, chosen.answers, rejected.answers, strict=True)
        ],
        train_dataset=Dataset.from_dict(
            {"prompt_ids": chosen.prompts, "chosen_ids": chosen.answers, "rejected_ids": rejected.answers}
        ),
        ref_model=reference if parameters.adapter.type == "none" else None,  # else the policy without its adapter
        args=settings,
        processing_class=tokenizer,
    )


def _chosen_tokens(inputs: Any) -> Any:
    """Predicted tokens of the chosen answers, which are the first half of the rows."""
    mask = inputs["completion_mask"]
    return mask[: len(mask) // 2, 1:].sum()


def measure(
    context: Context, name: str, model: Any, tokenizer: Any, records: Sequence[Record], reward_model: Any
) -> MeasuredModel:
    """Greedy and drawn answers of ``model`` to ``records``, judged by the verifier and by the reward model."""
    sampling = context.parameters.sampling
    greedy = answer_records(context, f"{name}-greedy", model, tokenizer, records, sampling)
    judged = checkable(records)
    verdicts = drawn = None
    if judged:
        own = {id(record): answer for record, answer in zip(records, greedy, strict=True)}
        verdicts = score(judged, [own[id(record)] for record in judged])
        sampled = answer_records(
            context, f"{name}-sampled", model, tokenizer, judged, sampling, samples=1, temperature=sampling.temperature
        )
        drawn = score(judged, sampled)
    answers = [answer for [answer] in greedy]
    whole = encode_answers(tokenizer, records, answers).whole().input_ids
    limit = context_length(model, tokenizer, context.parameters.seq_length)
    values = rewards(reward_model, [ids[:limit] for ids in whole], pad=tokenizer.pad_token_id)
    return MeasuredModel(verdicts, drawn, estimate(values, [record["group"] for record in records]), values, answers)


def preference_accuracy(
    policy: Any, reference: Any, tokenizer: Any, pairs: Sequence[Pair]
) -> tuple[Estimate, Estimate]:
    """Share of held-out pairs in the right order, by the implicit reward (gain in log-probability over the reference),
    and by the reference's own log-probability as the baseline."""
    logps: dict[tuple[str, str], np.ndarray] = {}
    for side in ("chosen", "rejected"):
        encoded = encode_answers(tokenizer, [p.record for p in pairs], [getattr(p, side) for p in pairs]).whole()
        for name, model in (("policy", policy), ("reference", reference)):
            scored = likelihood(model, encoded, pad=tokenizer.pad_token_id)
            logps[name, side] = np.array(scored.log_probabilities)
    gain = {side: logps["policy", side] - logps["reference", side] for side in ("chosen", "rejected")}
    groups = [pair.record["group"] for pair in pairs]
    right = 0.5 + 0.5 * np.sign(gain["chosen"] - gain["rejected"])
    likelier = 0.5 + 0.5 * np.sign(logps["reference", "chosen"] - logps["reference", "rejected"])
    return estimate(right.tolist(), groups), estimate(likelier.tolist(), groups)


def _record(
    context: Context,
    before: dict[str, MeasuredModel],
    after: dict[str, MeasuredModel],
    preference: Estimate,
    raw: Estimate,
) -> None:
    judged = after["test"].greedy is not None
    for set_name in ("test", "development"):
        prefix = "" if set_name == "test" else "development_"
        for way in ("greedy", "sampled"):
            was, now = getattr(before[set_name], way), getattr(after[set_name], way)
            if was is None or now is None:
                continue
            suffix = "" if way == "greedy" else "_sampled"
            for name, old, new in (
                ("correct_and_terse", was.terse, now.terse),
                ("accuracy", was.correct, now.correct),
            ):
                context.record(
                    Metric(f"{prefix}{name}{suffix}", new.value, True, new.stderr, new.n, "instructions",
                           {"instruct": old.value}),
                    headline=(prefix, name, suffix) == ("", "correct_and_terse", ""),
                )  # fmt: skip
    context.record(
        Metric("preference_accuracy", preference.value, True, preference.stderr, preference.n, "instructions",
               {"reference_log_probability": raw.value})
    )  # fmt: skip
    old, new = before["test"], after["test"]
    context.record(
        Metric("reward", new.reward.value, True, new.reward.stderr, new.reward.n, "instructions",
               {"instruct": old.reward.value})
    )  # fmt: skip
    wins = 0.5 + 0.5 * np.sign(np.subtract(new.rewards, old.rewards))
    context.record(
        Metric("reward_win_rate", float(wins.mean()), True, None, len(wins), "instructions", {"instruct": 0.5}),
        headline=not judged,
    )
