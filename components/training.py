"""What every training stage shares: the names of its parameters, the learning-rate schedule, the precision.

A stage's parameter model inherits :class:`TrainingParameters` and gives the defaults that suit it, by the annotated
types below, so that a name has the same bounds and the same explanation in every section of ``params.yaml``.
Nothing heavy is imported here before it is needed: the command line reads these models.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Annotated, Literal

from pydantic import Field, model_validator

from components.contract import Address, StageParameters

Schedule = Literal["cosine", "linear", "wsd", "constant"]

Steps = Annotated[int, Field(ge=1, le=100_000_000, description="Optimizer steps.")]
PerDeviceBatchSize = Annotated[
    int,
    Field(
        ge=1,
        le=1_048_576,
        description="Sequences that go through the model of a device at once. A step's batch is "
        "per_device_batch_size x gradient_accumulation_steps x devices x nodes.",
    ),
]
LearningRate = Annotated[float, Field(gt=0, le=1, description="AdamW's peak learning rate.")]
MuonLearningRate = Annotated[float, Field(gt=0, le=1, description="Muon's peak learning rate.")]
WeightDecay = Annotated[
    float, Field(ge=0, le=1, description="Decoupled weight decay of matrices, times the learning rate.")
]
Algorithm = Literal["muon", "adamw", "adamw_8bit", "paged_adamw_8bit"]
Optimizer = Annotated[
    Literal["muon", "adamw"],
    Field(description="muon: Muon on hidden matrices and AdamW on the rest; adamw: AdamW on all."),
]
WarmupRatio = Annotated[
    float, Field(ge=0, le=1, description="Share of the steps in which the learning rate rises linearly.")
]
MinLrRatio = Annotated[
    float, Field(ge=0, le=1, description="Share of the peak learning rate to which it falls by the last step.")
]
Precision = Annotated[
    Literal["auto", "fp32", "bf16"],
    Field(
        description="bf16: matrix products in bfloat16 by autocast, weights and moments in float32; "
        "auto: bf16 where the device has units for it."
    ),
]
Devices = Annotated[
    int, Field(ge=1, le=1024, description="Processes of a machine that share a batch, one a GPU if there are any.")
]
CheckpointEvery = Annotated[int, Field(ge=1, description="Steps between checkpoints.")]
LogEvery = Annotated[int, Field(ge=1, le=1_000_000, description="Steps between points of the training curve.")]


class TrainingParameters(StageParameters):
    """How a stage trains. Each stage adds ``seq_length`` and its budget: ``steps``; pretraining also epochs or tokens.

    A subclass adds to :meth:`problems` what its stage cannot do.
    """

    per_device_batch_size: PerDeviceBatchSize = 64
    gradient_accumulation_steps: int = Field(
        default=1,
        ge=1,
        le=65_536,
        description="Times that a device goes forward and backward in a step: a larger batch in the same memory.",
    )
    devices: Devices = 1
    nodes: int = Field(default=1, ge=1, le=65_536, description="Machines with as many devices each.")
    optimizer: Optimizer = "muon"
    learning_rate: LearningRate = 2e-3
    muon_learning_rate: MuonLearningRate = 0.01
    weight_decay: WeightDecay = 0.0
    beta1: float = Field(default=0.9, ge=0, lt=1, description="AdamW's decay rate of the first moment.")
    beta2: float = Field(default=0.95, ge=0, lt=1, description="AdamW's decay rate of the second moment.")
    schedule: Schedule = Field(
        default="cosine",
        description="The learning rate after the warm-up. cosine, linear: falls to min_lr_ratio; wsd: stays, then "
        "falls linearly to it; constant: stays.",
    )
    warmup_ratio: WarmupRatio = 0.04
    min_lr_ratio: MinLrRatio = 0.0
    decay_ratio: float = Field(
        default=0.2, gt=0, le=1, description="Share of the steps in which the learning rate of wsd falls."
    )
    max_grad_norm: float | None = Field(
        default=1.0, gt=0, description="The gradient is scaled down to this norm if it is larger. Null: never."
    )
    precision: Precision = "fp32"
    gradient_checkpointing: bool = Field(
        default=False, description="Recompute activations in the backward pass: less memory for a third more work."
    )
    checkpoint_every: CheckpointEvery = 50
    checkpoints: Address | None = Field(
        default=None,
        description="URL below which checkpoints are kept too (s3://bucket/folder, gs://, az://, file:///mnt/folder): "
        "another machine goes on from there. Credentials come from the environment. Null: on this machine alone.",
    )
    log_every: LogEvery = 5

    @property
    def processes(self) -> int:
        """All processes that share each batch."""
        return self.devices * self.nodes

    @property
    def batch_size(self) -> int:
        """Sequences of a step, over all processes."""
        return self.per_device_batch_size * self.gradient_accumulation_steps * self.processes

    def problems(self) -> list[str]:
        """What is wrong with parameters that are right by themselves."""
        if self.schedule == "wsd" and self.warmup_ratio + self.decay_ratio > 1:
            return [
                f"warmup_ratio {self.warmup_ratio:g} and decay_ratio {self.decay_ratio:g} are more than the whole "
                f"training; lower one of them"
            ]
        return []

    @model_validator(mode="after")
    def _consistent(self) -> TrainingParameters:
        if problems := self.problems():
            raise ValueError("; ".join(problems))
        return self

    def learning_rate_factor(self, step: int, steps: int, *, from_zero: bool = False) -> float:
        """Share of the peak learning rate at ``step`` (from 0) of ``steps``; see :func:`factor`."""
        return factor(
            step,
            steps,
            schedule=self.schedule,
            warmup_ratio=self.warmup_ratio,
            min_lr_ratio=self.min_lr_ratio,
            decay_ratio=self.decay_ratio,
            from_zero=from_zero,
        )


def factor(
    step: int,
    steps: int,
    *,
    schedule: Schedule = "cosine",
    warmup_ratio: float,
    min_lr_ratio: float,
    decay_ratio: float = 0.2,
    from_zero: bool = False,
) -> float:
    """Share of the peak learning rate at ``step`` (from 0): a linear rise, then what the schedule says.

    ``cosine`` (Loshchilov and Hutter 2017) and ``linear`` fall to ``min_lr_ratio``. ``wsd`` stays and falls linearly
    to it within the last part (warm-up, stable, decay: Hu et al. 2024). ``constant`` stays.

    Args:
        warmup_ratio: share of ``steps`` taken by the rise.
        min_lr_ratio: share of the peak at the last step.
        decay_ratio: share of ``steps`` taken by the fall of ``wsd``.
        from_zero: count as transformers does: the first step of the rise has rate 0, and the fall would end one step
            after the last.
    """
    rise, last = round(warmup_ratio * steps), steps - 1
    if from_zero:
        step, rise = step - 1, rise - 1
    if step < rise:
        return (step + 1) / (rise + 1)
    if schedule == "constant":
        return 1.0
    if schedule == "wsd":
        fall = max(1, min(round(decay_ratio * steps), last - rise))
        return 1 - (1 - min_lr_ratio) * max(0, step - (last - fall)) / fall
    if schedule == "linear":
        left = max(0, last - step) / max(1, last - rise)
        return min(1.0, min_lr_ratio + (1 - min_lr_ratio) * left)
    progress = min(1.0, (step - rise) / max(1, last - rise))
    return min_lr_ratio + (1 - min_lr_ratio) * 0.5 * (1 + math.cos(math.pi * progress))


@dataclass(frozen=True)
class ChosenPrecision:
    """The precision of a training's matrix products, and why; weights, gradients and moments are float32 in any.

    Attributes:
        name: ``fp32``, or ``bf16``: matrix products in bfloat16 by autocast.
        reason: what was detected, or that the parameters set it.
    """

    name: Literal["fp32", "bf16"]
    reason: str

    @property
    def mixed(self) -> Literal["bf16", "no"]:
        """accelerate's ``mixed_precision``."""
        return "bf16" if self.name == "bf16" else "no"

    def __str__(self) -> str:
        return f"{self.name} ({self.reason})"


def choose_precision(wanted: Precision) -> ChosenPrecision:
    """The precision that the parameters set; ``auto`` takes bf16 where the device has units for it."""
    units = bf16_units()
    if wanted == "auto":
        if units:
            return ChosenPrecision("bf16", f"detected: {units}")
        return ChosenPrecision("fp32", f"detected: no bfloat16 units in the {_device()}")
    if wanted == "bf16" and not units:
        return ChosenPrecision("bf16", f"set, though the {_device()} has no bfloat16 units and emulates them slowly")
    return ChosenPrecision(wanted, "set")


def forget_precision() -> None:
    """Have the next ``Accelerator`` of this process choose its precision anew.

    accelerate keeps one for the whole process; a process that trains or measures several stages one after the other
    needs each stage's own.
    """
    from accelerate.state import AcceleratorState

    AcceleratorState._reset_state()


def bf16_units() -> str | None:
    """The units that multiply bfloat16 matrices on the device that will be used; ``None`` if there are none."""
    import torch

    if torch.cuda.is_available():
        # Without including_emulation a card older than Ampere would say yes and be slower than in float32.
        return torch.cuda.get_device_name() if torch.cuda.is_bf16_supported(including_emulation=False) else None
    if torch.cpu._is_amx_tile_supported():
        return "AMX"
    return "AVX512-BF16" if torch.cpu._is_avx512_bf16_supported() else None


def _device() -> str:
    import torch

    return "GPU" if torch.cuda.is_available() else "processor"
