"""An optimizer's state by the names of its parameters: tensors for safetensors, the rest as plain values."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from components.pretrain import zero3
from components.pretrain.host_copies import placed_as


def tensors(model: nn.Module, optimizer: torch.optim.Optimizer) -> dict[str, Tensor | zero3.Part]:
    """The live tensors of the state, as ``<parameter>.<key>``: ``lm_head.weight.exp_avg``, ``lm_head.weight.step``."""
    return {name: value for name, value in _entries(model, optimizer) if isinstance(value, Tensor | zero3.Part)}


def values(model: nn.Module, optimizer: torch.optim.Optimizer) -> dict[str, Any]:
    """What is no tensor, for JSON: the settings of every group, its rate and decay among them, and plain state."""
    groups = [{key: value for key, value in group.items() if key != "params"} for group in optimizer.param_groups]
    plain = {name: value for name, value in _entries(model, optimizer) if not isinstance(value, Tensor | zero3.Part)}
    return {"groups": groups, "state": plain}


def restore(
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    saved_values: Mapping[str, Any],
    saved_tensors: Iterable[tuple[str, Tensor]],
) -> None:
    """Put back what :func:`values` gave, after a way through JSON, and :func:`tensors`, which the optimizer then owns.

    ``Optimizer.load_state_dict`` would cast every tensor to the type of its parameter; here each keeps its own.

    Raises:
        ValueError: the optimizer has other groups than the saved one.
    """
    groups = saved_values["groups"]
    if len(groups) != len(optimizer.param_groups):
        raise ValueError(
            f"the saved optimizer has {len(groups)} groups of parameters and this one {len(optimizer.param_groups)}"
        )
    counts_on_host = set()
    for group, settings in zip(optimizer.param_groups, groups, strict=True):
        for key, value in settings.items():
            # JSON knows no tuples.
            group[key] = tuple(value) if isinstance(group.get(key), tuple) else value
        if not (group.get("fused") or group.get("capturable")):
            counts_on_host |= {id(parameter) for parameter in group["params"]}
    optimizer.state.clear()
    parameters = dict(model.named_parameters())
    for name, value in saved_values["state"].items():
        parameter, _, key = name.rpartition(".")
        optimizer.state[parameters[parameter]][key] = value
    for name, tensor in saved_tensors:
        parameter, _, key = name.rpartition(".")
        live = parameters[parameter]
        if zero3.divided(live):
            zero3.restore(live, key, tensor)
            continue
        if tensor.shape == live.shape:
            tensor = placed_as(live, tensor)
        elif id(live) in counts_on_host:
            tensor = tensor.cpu()
        optimizer.state[live][key] = tensor


def _entries(model: nn.Module, optimizer: torch.optim.Optimizer) -> Iterator[tuple[str, Any]]:
    for name, parameter in model.named_parameters():
        if zero3.divided(parameter):  # the groups of its optimizer are filled during a step only
            yield from ((f"{name}.{key}", value) for key, value in zero3.state(parameter).items())
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    for group in optimizer.param_groups:
        for parameter in group["params"]:
            for key, value in optimizer.state.get(parameter, {}).items():
                yield f"{names[id(parameter)]}.{key}", value
