"""In which precision a training computes; weights, gradients and moments are float32 in any."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch

Precision = Literal["auto", "fp32", "bf16"]


@dataclass(frozen=True)
class Choice:
    """A precision and why.

    Attributes:
        name: ``fp32``, or ``bf16``: matrix products in bfloat16 by autocast.
        reason: what was detected, or that it was asked for.
    """

    name: Literal["fp32", "bf16"]
    reason: str

    @property
    def mixed(self) -> str:
        """accelerate's ``mixed_precision``."""
        return "bf16" if self.name == "bf16" else "no"

    def __str__(self) -> str:
        return f"{self.name} ({self.reason})"


def choose(asked: Precision) -> Choice:
    """The precision asked for; ``auto`` takes bf16 where the device has units for it."""
    units = bf16_units()
    if asked == "auto":
        if units:
            return Choice("bf16", f"detected: {units}")
        return Choice("fp32", f"detected: no bfloat16 units in the {_device()}")
    if asked == "bf16" and not units:
        return Choice("bf16", f"asked for, though the {_device()} has no bfloat16 units and emulates them slowly")
    return Choice(asked, "asked for")


def bf16_units() -> str | None:
    """The units that multiply bfloat16 matrices on the device that will be used; ``None`` if there are none."""
    if torch.cuda.is_available():
        # Without including_emulation a card older than Ampere would say yes and be slower than in float32.
        return torch.cuda.get_device_name() if torch.cuda.is_bf16_supported(including_emulation=False) else None
    if torch.cpu._is_amx_tile_supported():
        return "AMX"
    return "AVX512-BF16" if torch.cpu._is_avx512_bf16_supported() else None


def _device() -> str:
    return "GPU" if torch.cuda.is_available() else "processor"
