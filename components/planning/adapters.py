"""What an adapter changes in a training's memory: few weights learn, and the base may be kept in 4 bits."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from components.finetuning.parameters import AdapterParameters

if TYPE_CHECKING:
    from transformers import PreTrainedConfig, PreTrainedModel

#: Bytes of a weight in NF4 with scales for 64 weights that are quantized themselves: 4 + 8/64 + 32/(64 x 256) bits
#: (Dettmers et al. 2023, https://arxiv.org/abs/2305.14314, section 3).
NF4 = (4 + 8 / 64 + 32 / (64 * 256)) / 8
#: FLOPs of a token in units of a full training step's: forward, and backward to the inputs alone; the base's weights
#: have no gradients.
PASSES = 2 / 3


@dataclass(frozen=True)
class AdapterSizes:
    """Parameters of an adapter and of the base it belongs to.

    Attributes:
        learnable: of the adapter; they learn in float32.
        quantized: of the base, those kept in 4 bits.
    """

    learnable: int
    quantized: int


def sizes(config: PreTrainedConfig, adapter: AdapterParameters) -> AdapterSizes:
    """Counted on the module that transformers makes of ``config``; nothing is allocated.

    An adapted matrix of ``n`` by ``m`` gets ``rank`` times ``n + m`` weights, with DoRA also a magnitude an output.
    """
    import torch
    from transformers import AutoModelForCausalLM

    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(config, trust_remote_code=False)
    learnable = quantized = 0
    for adapted, module in _matrices(model, adapter):
        inputs, outputs = _shape(module)
        quantized += inputs * outputs if adapter.type == "qlora" else 0
        learnable += adapter.rank * (inputs + outputs) if adapted else 0
        learnable += outputs if adapted and adapter.type == "dora" else 0
    return AdapterSizes(learnable, quantized)


def pretend(model: PreTrainedModel, adapter: AdapterParameters) -> None:
    """Freeze ``model`` and add what autograd would keep of an adapter; for tensors that take no memory.

    PEFT itself cannot be attached to such tensors. As in a training, an adapted module's input is read in float32, or
    as it is under autocast.
    """
    import torch

    model.requires_grad_(False)
    for adapted, module in _matrices(model, adapter):
        if not adapted:
            continue
        inputs, outputs = _shape(module)
        down, up = (
            torch.nn.Parameter(torch.zeros(shape)) for shape in ((adapter.rank, inputs), (outputs, adapter.rank))
        )

        def add(_: Any, given: tuple[Any, ...], made: Any, down: Any = down, up: Any = up) -> Any:
            read = given[0] if adapter.shares_inputs and torch.is_autocast_enabled("cpu") else given[0].float()
            change = torch.nn.functional.linear(read, down)
            return made + torch.nn.functional.linear(change, up).to(made.dtype)

        module.register_forward_hook(add)


def _matrices(model: PreTrainedModel, adapter: AdapterParameters) -> Iterator[tuple[bool, Any]]:
    """(whether it is adapted, the module) of every linear module but the output layer."""
    output = model.get_output_embeddings()
    for name, module in model.named_modules():
        if module is not output and type(module).__name__ in ("Linear", "Conv1D"):
            yield adapter.target_modules == "all-linear" or _named(name, adapter.target_modules), module


def _shape(module: Any) -> tuple[int, int]:
    """(inputs, outputs) of a linear module; GPT-2 keeps its matrices transposed."""
    rows, columns = module.weight.shape
    return (rows, columns) if type(module).__name__ == "Conv1D" else (columns, rows)


def _named(name: str, targets: Any) -> bool:
    """Whether PEFT's ``target_modules`` means a module: by its own name, or by the end of its path."""
    return any(name == target or name.endswith(f".{target}") for target in targets)
