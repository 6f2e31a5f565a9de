"""Parameters that the fine-tuning stages share."""

from __future__ import annotations

import importlib.util
from typing import Annotated, Any, Literal

from pydantic import Field, field_validator

from components.contract import StageParameters
from components.training import Algorithm, LearningRate, MuonLearningRate, TrainingParameters


class AdapterParameters(StageParameters):
    """What learns: all weights, or a few beside them that start from no change (LoRA and its kin, by PEFT)."""

    type: Literal["none", "lora", "dora", "qlora"] = Field(
        default="none",
        description="none: every weight learns; lora: low-rank changes of the matrices; dora: lora with a learnt "
        "length of each row; qlora: lora on a base kept in 4 bits (needs bitsandbytes).",
    )
    rank: int = Field(default=16, ge=1, le=4096, description="Rank of each matrix's change.")
    alpha: int = Field(default=32, ge=1, le=65_536, description="The change is scaled by alpha / rank.")
    dropout: float = Field(default=0.0, ge=0, lt=1, description="Share of a change's inputs dropped in training.")
    target_modules: Literal["all-linear"] | tuple[str, ...] = Field(
        default="all-linear",
        description="Which matrices change: all of the linear layers but the output layer, or names of modules, such "
        "as [q_proj, v_proj].",
    )
    output: Literal["merged", "adapter"] = Field(
        default="merged",
        description="merged: whole weights with the change added; adapter: the base's files as they are, with the "
        "change and the base's digests in adapter/.",
    )

    @property
    def shares_inputs(self) -> bool:
        """Whether the adapter can read what its matrix reads, to the same numbers: neither it nor a norm changes it."""
        return self.type in ("lora", "qlora") and self.dropout == 0

    def problems(self) -> list[str]:
        """What is wrong with an adapter's parameters, or missing for them, before anything is loaded."""
        if self.type == "none" and self.output == "adapter":
            return ["adapter.output is adapter, and adapter.type none makes none: set type, or output to merged"]
        if self.type == "qlora" and importlib.util.find_spec("bitsandbytes") is None:
            extra = "pip install 'stemma-llm[bitsandbytes]'"
            return [f"adapter.type: qlora needs bitsandbytes; install Stemma with it: {extra}"]
        return []


FineTuningSteps = Annotated[
    int | None, Field(ge=1, le=100_000_000, description="Optimizer steps. Null: as many as epochs say.")
]
Auto = Literal["auto"]
SeqLength = Annotated[int, Field(ge=1, le=1_048_576)] | Auto | None
FineTuningRate = Annotated[
    LearningRate | Auto,
    Field(description="AdamW's peak learning rate; auto: by published rules from the model's width and the adapter."),
]
FineTuningMuonRate = Annotated[
    MuonLearningRate | Auto, Field(description="Muon's peak learning rate; auto: changes as large as AdamW's would be.")
]
FineTuningOptimizer = Annotated[
    Algorithm | Auto,
    Field(
        description="muon: Muon on hidden matrices and AdamW on the rest; adamw: AdamW on all; adamw_8bit: its moments "
        "in 8 bits; paged_adamw_8bit: and moved to main memory where the GPU's is short (both need bitsandbytes); "
        "auto: AdamW, paged in 8 bits where all weights of a large model learn on a GPU."
    ),
]


class FineTuningParameters(TrainingParameters):
    """How long and how fast to fine-tune; each stage sets its own defaults."""

    adapter: AdapterParameters = Field(default=AdapterParameters(), description="All weights learn, or an adapter.")
    # Exactly one of the two.
    steps: FineTuningSteps = 250
    epochs: float | None = Field(
        default=None, gt=0, le=10_000, description="Times that each example is seen, in place of steps (null then)."
    )
    optimizer: FineTuningOptimizer = "muon"  # type: ignore[assignment]  # wider than pretraining's
    learning_rate: FineTuningRate = 2e-3  # type: ignore[assignment]
    muon_learning_rate: FineTuningMuonRate = 0.01  # type: ignore[assignment]
    sharding: Literal["ddp", "fsdp2"] = Field(
        default="ddp",
        description="How devices share a training, by a file of components/harness/accelerate. ddp: each has all of "
        "the model, its gradients and moments; fsdp2: each has a part (GPUs alone).",
    )
    seq_length: SeqLength = Field(
        default=None,
        description="Tokens of the longest example. Null: as many as the model takes, which is the most in any case; "
        "auto: the smallest multiple of 64 that holds 99 % of the examples (all, where too_long is fail).",
    )
    evaluate_every: int | None = Field(
        default=None,
        ge=1,
        le=100_000_000,
        description="Steps between measurements of the loss on development examples, of which the best weights are "
        "kept. Null: none (instruct_finetune: before and after alone).",
    )
    evaluation_examples: int = Field(
        default=200, ge=1, le=1_000_000, description="Most development examples of these measurements"
    )
    patience: int | None = Field(
        default=None,
        ge=1,
        le=10_000,
        description="Measurements without a better one after which the training ends. Null: it ends with its steps.",
    )

    @field_validator("sharding", mode="before")
    @classmethod
    def _not_zero3(cls, sharding: Any) -> Any:
        if sharding == "zero3":
            raise ValueError(
                "zero3 is for pretraining: fine-tuning divides weights, gradients and moments by fsdp2, which needs no "
                "DeepSpeed"
            )
        return sharding

    def problems(self) -> list[str]:
        found = [*super().problems(), *self.adapter.problems()]
        if (self.steps is None) == (self.epochs is None):
            found.append("exactly one of steps and epochs is needed: set the other to null")
        if self.patience is not None and self.evaluate_every is None:
            found.append("patience counts measurements, and evaluate_every is null: set it")
        if self.optimizer.endswith("_8bit") and importlib.util.find_spec("bitsandbytes") is None:
            extra = "pip install 'stemma-llm[bitsandbytes]'"
            found.append(f"optimizer: {self.optimizer} needs bitsandbytes; install Stemma with it: {extra}")
        if self.sharding != "ddp" and self.adapter.type == "qlora":
            found.append(
                f"sharding {self.sharding} cannot divide a base in 4 bits: make adapter.type lora, or sharding ddp"
            )
        if self.sharding != "ddp" and self.optimizer.endswith("_8bit"):
            found.append(f"optimizer: {self.optimizer} cannot keep parts of weights: make it adamw, or sharding ddp")
        if self.checkpoint_every % self.log_every:
            found.append(
                f"checkpoint_every ({self.checkpoint_every}) must be a multiple of log_every ({self.log_every}), "
                "or curves would differ after a resume"
            )
        return found


def one_device(parameters: TrainingParameters) -> list[str]:
    """The problem of a stage that trains on a single device and is to use several."""
    if parameters.processes == 1:
        return []
    name = "nodes" if parameters.nodes > 1 else "devices"
    return [f"{name} is {getattr(parameters, name)}; this stage trains on one device of one machine: set it to 1"]


class GenerationParameters(StageParameters):
    """How answers are generated."""

    max_new_tokens: int = Field(default=24, ge=1, le=32_768, description="Longest answer, in tokens")
    batch_size: int = Field(default=256, ge=1, le=65_536, description="Answers generated side by side")


class SamplingParameters(GenerationParameters):
    """Several answers a prompt, to be ranked."""

    samples: int = Field(default=4, ge=2, le=64, description="Answers drawn for every prompt")
    temperature: float = Field(default=1.0, gt=0, le=10, description="Temperature of the draws")


TooLong = Literal["fail", "skip"]
TOO_LONG = "What to do with rows longer than the model's context: fail, or skip (counted and reported)"
