"""Parameters of preference tuning: the method, what holds the model, and how answers are rewarded in online methods."""

from __future__ import annotations

import math
import re
from typing import Annotated, Literal

from pydantic import Field, field_validator

from components.contract import StageParameters
from components.finetuning.parameters import (
    TOO_LONG,
    FineTuningOptimizer,
    FineTuningParameters,
    FineTuningRate,
    FineTuningSteps,
    SamplingParameters,
    TooLong,
    one_device,
)
from components.training import CheckpointEvery, PerDeviceBatchSize

Method = Literal["dpo", "kto", "orpo", "cpo", "simpo", "grpo", "rloo"]
Loss = Literal["sigmoid", "hinge", "ipo", "robust", "sppo_hard", "apo_zero", "apo_down", "sft"]

ONLINE: tuple[Method, ...] = ("grpo", "rloo")
"""Methods that learn from answers drawn while they train."""
PAIRED: tuple[Method, ...] = ("dpo", "orpo", "cpo", "simpo")
"""Methods that learn from pairs of a better and a worse answer."""

Weight = Annotated[float, Field(ge=-1000, le=1000, description="Factor of this reward in the sum that is learnt.")]
Name = Annotated[
    str, Field(pattern="^[a-z0-9_]{1,40}$", description="Name of its curve and metric; small letters, digits, _.")
]


class VerifierReward(StageParameters):
    """The rows' own verifier: 1 for an answer that is right and terse, 0.5 for one that is right and chatty, else 0."""

    type: Literal["verifier"] = "verifier"
    name: Name = "verifier"
    weight: Weight = 1.0


class RewardModelReward(StageParameters):
    """What ``models/reward`` says of the question with the answer."""

    type: Literal["reward_model"] = "reward_model"
    name: Name = "reward_model"
    weight: Weight = 1.0


class FormatReward(StageParameters):
    """1 for an answer that keeps every rule given here, else 0."""

    type: Literal["format"] = "format"
    name: Name = "format"
    weight: Weight = 1.0
    pattern: str | None = Field(
        default=None, description="Python regular expression that is found in the answer (^ and $ are its ends)."
    )
    min_characters: int | None = Field(default=None, ge=0, le=10_000_000, description="Shortest answer.")
    max_characters: int | None = Field(default=None, ge=1, le=10_000_000, description="Longest answer.")

    @field_validator("pattern")
    @classmethod
    def _is_an_expression(cls, pattern: str | None) -> str | None:
        try:
            re.compile(pattern or "")
        except re.error as error:
            raise ValueError(f"{pattern!r} is no regular expression: {error}") from None
        return pattern

    def problems(self) -> list[str]:
        if self.pattern is None and self.min_characters is None and self.max_characters is None:
            return [f"the reward {self.name} has no rule: set pattern, min_characters or max_characters"]
        if (self.min_characters or 0) > (self.max_characters or math.inf):
            return [f"the reward {self.name} has min_characters {self.min_characters} above max_characters"]
        return []


class FunctionReward(StageParameters):
    """A function of the user's: ``reward(records, answers)`` gives one number for each answer.

    The file's code runs in the stage with all its rights. It is named by its content, so that what is run is what was
    read and approved, and so that another content is other work.
    """

    type: Literal["function"] = "function"
    name: Name = "function"
    weight: Weight = 1.0
    path: str = Field(min_length=1, description="A Python file of the workspace, such as data/raw/my_reward.py.")
    sha256: str = Field(
        pattern="^[0-9a-f]{64}$",
        description="SHA-256 of the file, as `sha256sum` says it; a file of another content is not run.",
    )


Reward = Annotated[
    VerifierReward | RewardModelReward | FormatReward | FunctionReward,
    Field(discriminator="type"),
]


class PreferenceTuneParameters(FineTuningParameters):
    """How the model learns to prefer its better answers."""

    method: Method = Field(
        default="dpo",
        description="From pairs: dpo (arXiv:2305.18290), orpo (2403.07691), cpo (2401.08417), simpo (2405.14734); from "
        "answers labelled good or bad: kto (2402.01306); from rewards of answers drawn while it trains: grpo "
        "(2402.03300), rloo (2402.14740). orpo, cpo and simpo are experimental in TRL and may change with it.",
    )
    too_long: TooLong = Field(default="fail", description=TOO_LONG)
    beta: float = Field(
        default=0.1,
        ge=0,
        le=100,
        description="How closely the model is held to the instruct model (grpo and rloo: 0 for not at all); orpo: the "
        "weight of the odds ratio; cpo and simpo: the scale of the log-probabilities (simpo's authors: 2 and more)",
    )
    losses: tuple[Loss, ...] = Field(
        default=("sigmoid", "sft"),
        min_length=1,
        description="dpo's losses, which are added up: DPO's sigmoid and others of TRL; sft keeps the chosen answers "
        "probable",
    )
    loss_weights: tuple[float, ...] = Field(default=(1.0, 1.0), description="Weight of each of dpo's losses")
    desirable_weight: float = Field(default=1.0, gt=0, le=1000, description="kto: weight of answers labelled good")
    undesirable_weight: float = Field(default=1.0, gt=0, le=1000, description="kto: weight of answers labelled bad")
    cpo_alpha: float = Field(default=1.0, ge=0, le=1000, description="cpo: weight of the chosen answers' own loss")
    simpo_gamma: float = Field(
        default=0.5, ge=0, le=100, description="simpo: margin by which the chosen answer is to be better"
    )
    rewards: tuple[Reward, ...] = Field(
        default=(VerifierReward(),),
        min_length=1,
        description="grpo and rloo: what an answer earns, added up: verifier, reward_model, format (regular "
        "expression, length) or function (your own)",
    )
    epsilon: float = Field(
        default=0.2, gt=0, lt=1, description="grpo and rloo: most by which one step may change an answer's probability"
    )
    pairs_per_prompt: int = Field(default=3, ge=1, le=2016, description="Most pairs made of one prompt's answers")
    held_out_share: float = Field(default=0.1, gt=0, lt=0.9, description="Share of groups whose pairs only measure")
    sampling: SamplingParameters = Field(
        default=SamplingParameters(),
        description="Answers drawn to be ranked; grpo and rloo draw them anew for every prompt of a step",
    )
    steps: FineTuningSteps = 60
    per_device_batch_size: PerDeviceBatchSize = 32
    optimizer: FineTuningOptimizer = "adamw"
    learning_rate: FineTuningRate = 2e-4
    checkpoint_every: CheckpointEvery = 20

    def problems(self) -> list[str]:
        found = super().problems()
        if len(self.loss_weights) != len(self.losses):
            found.append(f"loss_weights needs one weight for each of the {len(self.losses)} losses")
        if self.method not in ONLINE and self.beta == 0:
            found.append(f"beta is 0, with which {self.method} learns no preference; set it above 0")
        if self.method == "kto" and self.per_device_batch_size == 1:
            found.append(
                "per_device_batch_size is 1; kto compares the answers that go through the model together: set it to 2 "
                "or more"
            )
        if self.method in ONLINE:
            found += self._online_problems()
        return found

    def _online_problems(self) -> list[str]:
        rules = [reward for reward in self.rewards if isinstance(reward, FormatReward)]
        found = [*one_device(self), *(problem for rule in rules for problem in rule.problems())]
        if self.steps is None:
            found.append(
                f"steps is null; {self.method} draws its answers while it trains, so set steps in place of epochs"
            )
        names = [reward.name for reward in self.rewards]
        if twice := sorted({name for name in names if names.count(name) > 1}):
            found.append(f"rewards: several are called {', '.join(twice)}; give each a name of its own")
        if self.evaluate_every is not None:
            found.append(
                f"evaluate_every is set; {self.method} learns from drawn answers and has no loss on held-out "
                "ones: set it to null"
            )
        if self.batch_size % self.sampling.samples:
            found.append(
                f"a step's batch of {self.batch_size} answers cannot be cut into groups of sampling.samples "
                f"({self.sampling.samples}) answers to one prompt: set per_device_batch_size to a multiple of it"
            )
        return found
