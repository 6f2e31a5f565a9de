"""Models whose weights are divided among the processes of a stage (FSDP2): their weights as a whole, and back.

FSDP2: https://docs.pytorch.org/docs/stable/distributed.fsdp.fully_shard.html
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any


def is_sharded(model: Any) -> bool:
    """True if each process has a part of the weights of ``model`` alone."""
    from torch.distributed.tensor import DTensor

    return any(isinstance(weights, DTensor) for weights in model.parameters())


def weights(model: Any) -> dict[str, Any]:
    """The whole weights of a model, on the device of each process. All processes call it together."""
    if not is_sharded(model):
        return dict(model.state_dict())
    from torch.distributed.checkpoint.state_dict import StateDictOptions, get_model_state_dict

    return dict(get_model_state_dict(model, options=StateDictOptions(full_state_dict=True)))


def give(model: Any, state: dict[str, Any]) -> None:
    """Give a sharded model whole weights, of which each process keeps its part. All processes call it together."""
    from torch.distributed.checkpoint.state_dict import StateDictOptions, set_model_state_dict

    set_model_state_dict(model, state, options=StateDictOptions(full_state_dict=True, strict=False))


def whole(model: Any, load: Callable[[], Any]) -> Any:
    """``model`` if it is not sharded; else the one that ``load`` makes, with the weights of ``model``."""
    if not is_sharded(model):
        return model
    plain = load()
    plain.load_state_dict(weights(model))
    return plain


def gather_in_float32(accelerator: Any) -> None:
    """Have accelerate gather weights in the precision of the products and sum gradients in float32.

    Its own policy sums gradients in bfloat16 where products are in it. Changes nothing where nothing is sharded.
    """
    plugin = getattr(accelerator.state, "fsdp_plugin", None)
    if plugin is None:
        return
    import torch
    from torch.distributed.fsdp import MixedPrecisionPolicy

    dtype = torch.bfloat16 if accelerator.mixed_precision == "bf16" else None
    plugin.mixed_precision_policy = MixedPrecisionPolicy(dtype, reduce_dtype=torch.float32)
