"""``batch_size: auto``: the largest power of two of rows that take a quarter of the device's memory by their own count.

Counted of a row are the keys and values of all blocks, the widest layer's activations, and where every token is scored
the scores over the vocabulary, three times in float32. The memory is what the device has, not what of it is free, so
that it is the same on every run of a machine. What does not fit all the same is halved when the memory runs out.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal, TypeVar

from components.contract import Context
from core.numbers import size

_SHARE = 0.25
_MOST = 256
_SCORES = 3 * 4  # bytes: logits, log-probabilities and what is between them, in float32

Result = TypeVar("Result")


def settle(
    context: Context, name: str, given: int | Literal["auto"], model: Any, tokens: int, *, scored: bool = False
) -> int:
    """``given``, or what is chosen in its place where it is ``auto``, which then goes into the receipt as ``name``.

    Args:
        tokens: of the longest row.
        scored: every token of a row is scored, not its last alone.
    """
    if given != "auto":
        return given
    memory, one = device_memory(model), row(model, tokens, scored=scored)
    rows = fitting(memory, one)
    context.environment[name] = f"{rows} (of {tokens:,} tokens and {size(one)} each, in a quarter of {size(memory)})"
    return rows


def fitting(memory: float, one: int) -> int:
    """Rows of ``one`` bytes each in a device of ``memory`` bytes: a power of two from 1 to 256."""
    most = min(_MOST, max(1, int(_SHARE * memory / one)))
    return 1 << (most.bit_length() - 1)


def row(model: Any, tokens: int, *, scored: bool) -> int:
    """Bytes that a row of so many tokens takes, gradients apart."""
    config, unit = model.config.get_text_config(), model.dtype.itemsize
    width, heads, blocks = config.hidden_size, config.num_attention_heads, config.num_hidden_layers
    keys = (getattr(config, "num_key_value_heads", None) or heads) * (
        getattr(config, "head_dim", None) or width // heads
    )
    inner = getattr(config, "intermediate_size", None) or 4 * width
    scores = _SCORES * config.vocab_size if scored else 0
    return int(tokens * (unit * (2 * keys * blocks + 3 * inner + 6 * width) + scores))


def device_memory(model: Any) -> float:
    """Bytes of the device that ``model`` lies on."""
    import psutil
    import torch

    if model.device.type == "cuda":
        return float(torch.cuda.get_device_properties(model.device).total_memory)
    return float(psutil.virtual_memory().total)


def halving(batch: int, run: Callable[[int], Result]) -> Result:
    """What ``run`` gives for ``batch`` rows at a time, or for half as many each time that the memory runs out."""
    import torch

    while True:
        try:
            return run(batch)
        except torch.OutOfMemoryError:
            if batch == 1:
                raise
        batch //= 2
        torch.cuda.empty_cache()
