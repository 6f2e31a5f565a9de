"""How the processes of a training divide batches and weights among them: what the launch file asks of accelerate.

Ranks are numbered as accelerate numbers them: those that share a matrix product are neighbours, then those that share
a sequence, then those that share the weights alone.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from accelerate import Accelerator
from torch import Tensor, nn
from torch.distributed.fsdp import MixedPrecisionPolicy, register_fsdp_forward_method
from transformers import PreTrainedModel

from components.pretrain.loss import CausalLoss
from components.pretrain.snapshot import whole


@dataclass(frozen=True)
class Division:
    """Who does what.

    Attributes:
        process: this process's number.
        processes: how many there are.
        tensor: processes that share each matrix product and therefore see the same sequences, whole.
        sequence: processes that share each sequence, of which each takes a part.
        sharded: weights, gradients and moments are divided among the processes (FSDP2).
    """

    process: int = 0
    processes: int = 1
    tensor: int = 1
    sequence: int = 1
    sharded: bool = False

    @classmethod
    def of(cls, accelerator: Accelerator) -> Division:
        """What accelerate was started with."""
        degrees = accelerator.parallelism_config
        return cls(
            accelerator.process_index,
            accelerator.num_processes,
            tensor=degrees.tp_size if degrees else 1,
            sequence=degrees.cp_size if degrees else 1,
            sharded=accelerator.is_fsdp2,
        )

    @property
    def readers(self) -> int:
        """Processes that read the same sequences."""
        return self.tensor * self.sequence

    @property
    def parts(self) -> int:
        """Into how many parts each batch is cut."""
        return self.processes // self.readers

    @property
    def part(self) -> int:
        """The part of the batch that this process reads."""
        return self.process // self.readers

    @property
    def averaged(self) -> int:
        """Processes over which gradients are averaged: those that share a product have parts of one gradient."""
        return self.processes // self.tensor


def prepare(
    accelerator: Accelerator, module: CausalLoss, optimizer: torch.optim.Optimizer
) -> tuple[nn.Module, torch.optim.Optimizer]:
    """``accelerator.prepare``, with weights and gradients in float32 and every method usable that computes."""
    if accelerator.is_fsdp2:
        # accelerate's own policy under bf16 would gather weights, sum gradients and return the loss in bfloat16. So
        # sharded, a training differs from an unsharded one by the order of its sums alone.
        accelerator.state.fsdp_plugin.mixed_precision_policy = MixedPrecisionPolicy()
    module, optimizer = accelerator.prepare(module, optimizer)
    for method in ("token_losses", "generate"):
        register_fsdp_forward_method(module, method)  # changes nothing where the module is not sharded
    return module, optimizer


@contextmanager
def shared_sequences(
    accelerator: Accelerator, inputs: Tensor, labels: Tensor, positions: Tensor | None
) -> Iterator[tuple[Tensor, Tensor, Tensor | None]]:
    """This process's part of each sequence, where processes share them; forward and backward pass belong inside.

    Yields:
        inputs, labels and positions, [sequences, context / processes that share them].
    """
    if Division.of(accelerator).sequence == 1:
        yield inputs, labels, positions
        return
    if positions is None:
        # A part has to know where in the sequence it lies.
        positions = torch.arange(inputs.shape[1], device=inputs.device).expand_as(inputs)
    buffers = [tensor.clone() for tensor in (inputs, labels, positions)]
    with accelerator.maybe_context_parallel(
        buffers=buffers, buffer_seq_dims=[1] * len(buffers), no_restore_buffers=set(buffers)
    ):
        yield tuple(buffers)


def gathered(accelerator: Accelerator, model: PreTrainedModel) -> dict[str, Tensor] | None:
    """The whole weights of a sharded model on the main process's host; nothing where it is not sharded, or elsewhere.

    All processes call it together.
    """
    if not accelerator.is_fsdp2:
        return None
    found, by_tensor = {}, {}
    for name, tensor in model.state_dict(keep_vars=True).items():
        if id(tensor) not in by_tensor:
            complete = whole(tensor.detach())
            by_tensor[id(tensor)] = complete.cpu() if accelerator.is_main_process else None
        found[name] = by_tensor[id(tensor)]
    return found if accelerator.is_main_process else None
