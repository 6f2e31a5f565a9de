"""Parameters of the pretrain stage."""

from __future__ import annotations

import difflib
import re
from typing import Any, Literal

from pydantic import Field, field_validator, model_validator

from components.contract import StageParameters
from components.pretrain.presets import PRESETS

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
        base = DEFAULTS
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
        width, heads, groups = (
            getattr(self, name) or base.get(name)
            for name in ("hidden_size", "num_attention_heads", "num_key_value_heads")
        )
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


class PretrainParameters(StageParameters):
    """What is trained, on how much, and how."""

    init: str = Field(
        default="scratch",
        min_length=1,
        description="'scratch', or weights and architecture to go on from: registry:MODEL@ALIAS, "
        "registry:MODEL:VERSION, a local Hugging Face folder, or a hub id (owner/name, or owner/name@REVISION).",
    )
    architecture: Architecture = Field(default=Architecture(), description="The decoder made by init: scratch.")
    context: int = Field(default=128, ge=8, le=1_048_576, description="Tokens of a training sequence.")
    batch_size: int = Field(
        default=32, ge=1, le=1_048_576, description="Sequences of a step, over all processes together."
    )
    micro_batch_size: int | None = Field(
        default=None,
        ge=1,
        description="Sequences that go through the model of a process at once; null: all of its share of the batch.",
    )
    batch_ramp_start: int | None = Field(
        default=None, ge=1, description="Sequences of the first step; the batch rises from there. Null: no ramp."
    )
    batch_ramp_tokens: int | None = Field(
        default=None, ge=1, description="Tokens over which the batch rises linearly to batch_size."
    )
    steps: int | None = Field(default=600, ge=1, description="Budget in optimizer steps. Set exactly one budget.")
    epochs: float | None = Field(default=None, gt=0, description="Budget in passes over the training tokens.")
    tokens: int | None = Field(default=None, ge=1, description="Budget in training tokens, rounded up to whole steps.")
    optimizer: Literal["muon", "adamw"] = Field(
        default="muon", description="muon: Muon on hidden matrices and AdamW on the rest; adamw: AdamW on all."
    )
    learning_rate: float = Field(default=3e-3, gt=0, le=1, description="AdamW's peak learning rate.")
    muon_learning_rate: float = Field(default=0.02, gt=0, le=1, description="Muon's peak learning rate.")
    weight_decay: float = Field(
        default=0.1, ge=0, le=1, description="Decoupled weight decay of matrices, times the learning rate."
    )
    beta1: float = Field(default=0.9, ge=0, lt=1, description="AdamW's decay rate of the first moment.")
    beta2: float = Field(default=0.95, ge=0, lt=1, description="AdamW's decay rate of the second moment.")
    schedule: Literal["cosine", "wsd", "constant"] = Field(
        default="cosine",
        description="After the warm-up: cosine to final_share; wsd: stay, then fall linearly to it; constant: stay.",
    )
    warmup: float = Field(default=0.05, ge=0, le=1, description="Share of the steps in which the rate rises linearly.")
    final_share: float = Field(
        default=0.1, ge=0, le=1, description="Share of the peak rate to which it falls at the last step."
    )
    decay: float = Field(default=0.2, gt=0, le=1, description="Share of the steps in which the rate of wsd falls.")
    clip: float | None = Field(default=1.0, gt=0, description="Largest gradient norm; null does not clip.")
    precision: Literal["auto", "fp32", "bf16"] = Field(
        default="auto",
        description="bf16: matrix products in bfloat16 by autocast; auto: bf16 where the device has units for it.",
    )
    z_loss: float = Field(
        default=0.0, ge=0, le=1, description="Coefficient of the softmax's squared log-denominator; PaLM's is 1e-4."
    )
    mask_documents: bool = Field(
        default=False, description="Attention stays within a document, and positions begin anew at each."
    )
    gradient_checkpointing: bool = Field(
        default=False, description="Compute activations again on the way back: less memory for a third more work."
    )
    compile: bool = Field(
        default=False, description="torch.compile the model: minutes of warm-up, told apart from the speed."
    )
    devices: int = Field(
        default=2, ge=1, le=1024, description="Processes of a machine that share a batch, one a GPU if there are any."
    )
    nodes: int = Field(default=1, ge=1, le=65536, description="Machines with as many devices each.")
    sharding: Literal["ddp", "fsdp2", "zero3", "tensor_parallel", "context_parallel"] = Field(
        default="ddp",
        description="How devices share a training, by a file of "
        "components/harness/accelerate. ddp: each has all of the model; "
        "fsdp2, zero3 (DeepSpeed's): each has a part; tensor_parallel, context_parallel: also matrix products, or "
        "sequences, are divided.",
    )
    log_every: int = Field(default=10, ge=1, description="Steps between points of the training curve.")
    checkpoint_every: int = Field(default=100, ge=1, description="Steps between checkpoints.")
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

    @property
    def processes(self) -> int:
        """All processes that share each batch."""
        return self.devices * self.nodes

    @model_validator(mode="after")
    def _one_budget(self) -> PretrainParameters:
        problems = []
        budgets = {name: getattr(self, name) for name in ("steps", "epochs", "tokens")}
        given = [name for name, value in budgets.items() if value is not None]
        if len(given) != 1:
            problems.append(
                f"{' and '.join(given) if given else 'none of steps, epochs and tokens'} set; set exactly one and make "
                f"the others null"
            )
        processes, name = self.processes, "devices x nodes" if self.nodes > 1 else "devices"
        if self.batch_size % processes:
            problems.append(f"batch_size {self.batch_size} is not divisible by {name} {processes}; choose a multiple")
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
                f"batch_ramp_start {self.batch_ramp_start} is not between {name} {processes} and batch_size "
                f"{self.batch_size}"
            )
        if self.warmup + self.decay > 1 and self.schedule == "wsd":
            problems.append(f"warmup {self.warmup:g} and decay {self.decay:g} are more than the whole training")
        if problems:
            raise ValueError("; ".join(problems))
        return self
