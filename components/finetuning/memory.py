"""Whether the training of a model can fit into this machine's memory at all, said before anything is loaded."""

from __future__ import annotations

from pathlib import Path

from components.finetuning.parameters import FineTuningParameters
from components.training import choose_precision
from core import weights
from core.errors import InputProblem
from core.numbers import count, size

#: Bytes of a weight that learns: itself, its gradient and AdamW's two moments, in float32.
_LEARNS = 16
#: Bytes of a weight that does not, by the precision of the products, and in 4 bits (with the scales of NF4).
_FROZEN = {"fp32": 4.0, "bf16": 2.0}
_QUANTIZED = 0.55


def require_memory(folder: Path, parameters: FineTuningParameters, stage: str) -> None:
    """Refuse a training whose weights alone take more than the device has.

    Raises:
        InputProblem: it does not fit, with what would.
    """
    if found := problem(folder, f"models/{folder.name}", parameters, stage):
        raise InputProblem(found)


def problem(folder: Path, name: str, parameters: FineTuningParameters, stage: str) -> str | None:
    """Why the weights alone of the model in ``folder`` take more than the device has; activations come on top.

    Counted from the headers of its files, so it takes no time however large the model is.
    """
    numbers, _ = weights.count(folder)
    there, where, own = memory_here()
    if own and parameters.sharding != "ddp":
        there *= parameters.processes  # each device has a part of the weights
        where = f"{parameters.processes} x {where}"
    kind = parameters.adapter.type
    frozen = _FROZEN[choose_precision(parameters.precision).name]
    needed = {"none": _LEARNS, "qlora": _QUANTIZED}.get(kind, frozen)
    if numbers * needed <= there:
        return None
    what = "training all of them takes" if kind == "none" else f"its base under {kind} takes"
    ways = [(name, each) for name, each in (("lora", frozen), ("qlora", _QUANTIZED)) if each < needed]
    advice = [f"{stage}.adapter.type {name} takes {size(numbers * each)}" for name, each in ways]
    return (
        f"{name} has {count(numbers)} parameters; {what} at least {size(numbers * needed)}, and {where} "
        f"has {size(there)}: {'; '.join([*advice, 'take a smaller model or a larger machine'])} (`stemma plan`)"
    )


def memory_here() -> tuple[float, str, bool]:
    """(bytes of the device that trains here, its name, whether each process has one of its own)."""
    import torch

    if torch.cuda.is_available():
        return float(torch.cuda.get_device_properties(0).total_memory), torch.cuda.get_device_name(), True
    import psutil

    return float(psutil.virtual_memory().total), "this machine", False
