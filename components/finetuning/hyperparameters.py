"""Rates, optimizer and steps that suit a model: chosen by published rules where the parameters say ``auto``.

A peak learning rate of full fine-tuning is published for one width; it falls with the width to the power of 0.781, and
under an adapter it is ten times as high at any rank: both fitted by Schulman et al. 2025, "LoRA Without Regret",
https://thinkingmachines.ai/blog/lora/ . Muon's rate is the one whose changes are as large as AdamW's
(Liu et al. 2025, arXiv:2502.16982).
"""

from __future__ import annotations

import importlib.util
import math
from typing import Any, NamedTuple

from components.contract import Context
from components.finetuning import adapters
from components.finetuning.parameters import FineTuningParameters
from components.training import Algorithm

_WIDTH_POWER = 0.781
_ADAPTER_FACTOR = 10
_ADAMW_RMS = 0.2  # of the elements of AdamW's change of a matrix, in units of its rate
_PRETRAINED = 20_000_000  # weights; smaller models are trained from scratch here, at rates of their own
_FAR = 10  # times the rule's rate, up or down, that is warned of
_PAGED = 3_000_000_000  # weights, all of them trained, from which AdamW's moments are kept in 8 bits on GPUs


class _Published(NamedTuple):
    rate: float
    width: int
    source: str


_STAGES = {
    "instruct_finetune": _Published(2e-5, 4096, "Ivison et al. 2023, arXiv:2311.10702"),
    "reward_model": _Published(9e-6, 4096, "Ouyang et al. 2022, arXiv:2203.02155"),
    "preference_tune": _Published(5e-7, 4096, "Ivison et al. 2023, arXiv:2311.10702"),
    "classify_finetune": _Published(3e-5, 768, "Devlin et al. 2019, arXiv:1810.04805"),
}


class Settled(NamedTuple):
    """A number in every place; the rates are peaks."""

    steps: int
    optimizer: Algorithm
    learning_rate: float
    muon_learning_rate: float


def settle(context: Context, parameters: FineTuningParameters, model: Any, examples: int, stage: str) -> Settled:
    """The steps of the epochs, and what ``auto`` is for this model.

    What is chosen goes into the receipt with its reason. A rate of the user's that is far from the rule is warned of
    where the model is a pretrained one.

    Args:
        model: with its adapter, if it has one.
        examples: of an epoch.
    """
    steps = parameters.steps or max(1, math.ceil((parameters.epochs or 0) * examples / parameters.batch_size))
    weights = sum(each.numel() for each in model.parameters())
    algorithm = parameters.optimizer
    if algorithm == "auto":
        algorithm, why = _optimizer(model, weights)
        context.environment["optimizer"] = f"{algorithm} ({why})"
    rule, reason = rate(model, stage)
    rules = {"learning_rate": rule, "muon_learning_rate": rule * _ADAMW_RMS * math.sqrt(_width(model))}
    rates = {}
    for name, suits in rules.items():
        given = getattr(parameters, name)
        used = name == "learning_rate" or algorithm == "muon"
        rates[name] = float(f"{suits:.2g}") if given == "auto" else given
        if given == "auto" and used:
            context.environment[name] = f"{rates[name]:g} ({reason})"
        elif used and weights >= _PRETRAINED and not suits / _FAR <= given <= suits * _FAR:
            context.warn(
                f"{stage}.{name} is {given:g}; a pretrained model of {weights / 1e6:.0f}M weights takes about "
                f"{suits:.1g} ({reason}): set it to auto"
            )
    return Settled(steps, algorithm, **rates)


def rate(model: Any, stage: str) -> tuple[float, str]:
    """AdamW's peak rate for ``model`` in ``stage``, and where it comes from."""
    published, width = _STAGES[stage], _width(model)
    value = published.rate * (published.width / width) ** _WIDTH_POWER
    reason = f"{published.rate:g} at a width of {published.width}, {published.source}; this model's is {width}"
    if adapters.is_attached(model):
        value *= _ADAPTER_FACTOR
        reason += f"; {_ADAPTER_FACTOR} times as much for an adapter, Schulman et al. 2025"
    return value, reason


def _optimizer(model: Any, weights: int) -> tuple[Algorithm, str]:
    import torch

    if adapters.is_attached(model):
        return "adamw", "an adapter's moments are small"
    if weights < _PAGED or not torch.cuda.is_available() or importlib.util.find_spec("bitsandbytes") is None:
        return "adamw", "as the model was pretrained"
    return "paged_adamw_8bit", f"{weights / 1e9:.0f}B weights; moments of 8 bits take a quarter of the memory"


def _width(model: Any) -> int:
    return int(model.config.get_text_config().hidden_size)
