"""Online methods: answers are drawn from the model while it trains, and those that earn more than their group's mean
become more probable (GRPO: Shao et al., arXiv:2402.03300; RLOO: Ahmadian et al., arXiv:2402.14740).

Answers are drawn by transformers. A step's draws depend on the seed and the step alone, so that a training that was
interrupted goes on as if it had not been.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from components.contract import Context
from components.conversations import render
from components.finetuning.records import Record, conversation
from components.finetuning.rewards import Reading, Rewarder
from components.finetuning.training import Curve, arguments, batch_order, train
from components.preference_tune.own_reward import RewardFunction
from components.preference_tune.reference import WithoutCopy
from components.tasks import has_verifier, judge

# Counts of a reading whose shares in a step's answers are curves.
_COUNTED = ("cut", "unread", "unshown")
_CURVES = "reward_model"


def fit(
    context: Context,
    policy: Any,
    reference: Any,
    tokenizer: Any,
    records: Sequence[Record],
    rewards: Mapping[str, RewardFunction],
) -> Curve:
    """Train ``policy`` in place on answers to the records' questions, held to ``reference``.

    Args:
        reference: None where that is the policy without its adapter.
        rewards: what answers earn, by name, in the order of ``parameters.rewards``.
    """
    import torch
    from datasets import Dataset
    from trl import GRPOConfig, GRPOTrainer, RLOOConfig, RLOOTrainer
    from trl.trainer.utils import add_fused_lm_head

    parameters, sampling = context.parameters, context.parameters.sampling
    base, config = (GRPOTrainer, GRPOConfig) if parameters.method == "grpo" else (RLOOTrainer, RLOOConfig)
    prompts = render(tokenizer, [conversation(record) for record in records])

    class Drawing(WithoutCopy, base):  # type: ignore[misc, valid-type]
        """The TRL trainer on this stage's tokens and reference, with draws that depend on seed and step alone."""

        def __init__(self, *args: Any, **kwargs: Any) -> None:
            super().__init__(*args, **kwargs)
            self.beta = parameters.beta  # 0 in the arguments, or TRL would load the reference by the model's name
            if self.beta and reference is not None:
                add_fused_lm_head(reference, temperature=self.temperature)
                self.ref_model = self.accelerator.prepare_model(reference, evaluation_mode=True)

        def _tokenize_prompts(self, places: list[int]) -> Any:
            return [prompts[place] for place in places], None, {}

        def _generate_and_score_completions(self, inputs: Any) -> Any:
            key = f"{context.seed}/answers/{self.state.global_step}"
            torch.manual_seed(int.from_bytes(hashlib.sha256(key.encode()).digest()[:8]))
            return super()._generate_and_score_completions(inputs)

        def _calculate_rewards(self, inputs: Any, places: Any, answers: list[str], ids: Any) -> Any:
            given = [(records[place], answer) for place, answer in zip(places, answers, strict=True)]
            judged = [judge(record, answer).correct for record, answer in given if has_verifier(record)]
            if judged:
                self._log_metric("accuracy", float(np.mean(judged)))
            return super()._calculate_rewards(inputs, places, answers, ids)

    drawn = parameters.batch_size // sampling.samples  # questions of a step
    order = batch_order([len(prompt) for prompt in prompts], drawn, parameters.steps, context.seed)
    context.tokens += sampling.samples * sum(len(prompts[place]) + sampling.max_new_tokens for place in order)
    settings = arguments(
        context, config, parameters,
        beta=0.0,
        disable_dropout=True,
        num_generations=sampling.samples,
        max_completion_length=sampling.max_new_tokens,
        temperature=sampling.temperature,
        epsilon=parameters.epsilon,
        reward_weights=[reward.weight for reward in parameters.rewards],
        shuffle_dataset=False,
    )  # fmt: skip
    curve = train(
        context,
        Drawing,
        parameters,
        description="preference_tune",
        model=policy,
        lengths=[len(prompt) + sampling.max_new_tokens for prompt in prompts],
        order=_groups(order, drawn, sampling.samples, parameters.gradient_accumulation_steps),
        train_dataset=Dataset.from_dict({"prompt": list(range(len(records)))}),  # places in ``records``
        reward_funcs=[_named(name, function, records) for name, function in rewards.items()],
        args=settings,
        processing_class=tokenizer,
    )
    for rewarder in rewards.values():
        if isinstance(rewarder, Rewarder):
            for said in rewarder.words("answers of training", _read(curve, parameters)):
                context.warn(said)
    return curve


def _read(curve: Curve, parameters: Any) -> Reading:
    """What the reward model read of the answers that were drawn, by the curve: it has also the steps before a stop."""
    found, before = dict.fromkeys(("answers", *_COUNTED), 0), 0
    for point in curve:
        answers = (int(point["step"]) - before) * parameters.batch_size
        before = int(point["step"])
        found["answers"] += answers
        for name in _COUNTED:
            found[name] += round(point[f"{_CURVES}/{name}"] * answers)
    return Reading(**found)


def _groups(order: Sequence[int], drawn: int, samples: int, parts: int) -> list[int]:
    """Each step's questions as the trainer takes them: ``samples`` times each, and the step's whole batch once for
    each of its ``parts``, of which it draws answers to the first and cuts those."""
    steps = [order[start : start + drawn] for start in range(0, len(order), drawn)]
    return [place for step in steps for _ in range(parts) for place in step for _ in range(samples)]


def _named(name: str, function: RewardFunction, records: Sequence[Record]) -> Any:
    """``function`` as TRL calls it, under the name of its curve."""

    def reward(prompts: list[int], completions: list[str], log_metric: Any, **_: Any) -> list[float]:
        values = function([records[place] for place in prompts], completions)
        if isinstance(function, Rewarder):
            read = function.take()
            for each in _COUNTED:
                log_metric(f"{_CURVES}/{each}", getattr(read, each) / read.answers)
        return values

    reward.__name__ = name
    return reward
