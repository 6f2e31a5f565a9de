"""child.py, for `accelerate launch`, with FSDP2 on processors: accelerate itself applies it to GPUs alone.

Two things are changed. The first is that decision, in the state that accelerate makes; the plugin, the launch file's
settings, the sharding of the model and the switch of the optimizer to it are accelerate's own, over gloo. The second
is the attention of sequences that are shared: torch has ring attention as CUDA kernels alone, so keys and values are
gathered here and attended to by position.
"""

from __future__ import annotations

import sys

import torch
import torch.distributed as distributed
from accelerate.state import AcceleratorState, PartialState
from accelerate.utils import DistributedType
from transformers import AttentionInterface
from transformers.integrations.sdpa_attention import repeat_kv, sdpa_attention_forward

from components.pretrain import loop
from tests.unit.pretrain import child


def shard_on_processors() -> None:
    """Have accelerate treat processes that talk by gloo as it treats those that talk by NCCL."""
    original = AcceleratorState.__init__

    def make(self, *arguments, fsdp_plugin=None, **options) -> None:
        original(self, *arguments, fsdp_plugin=fsdp_plugin, **options)
        if fsdp_plugin is not None and self.distributed_type == DistributedType.MULTI_CPU:
            self.distributed_type = PartialState._shared_state["distributed_type"] = DistributedType.FSDP
            self.fsdp_plugin = fsdp_plugin

    AcceleratorState.__init__ = make


class Gather(torch.autograd.Function):
    """The parts of a group's processes side by side; each gets the sum of all gradients of its part."""

    @staticmethod
    def forward(ctx, part, dimension, group):
        ctx.dimension, ctx.group = dimension, group
        parts = [torch.empty_like(part) for _ in range(group.size())]
        distributed.all_gather(parts, part.contiguous(), group=group)
        return torch.cat(parts, dimension)

    @staticmethod
    def backward(ctx, gradient):
        gradient = gradient.contiguous()
        distributed.all_reduce(gradient, group=ctx.group)
        return gradient.chunk(ctx.group.size(), ctx.dimension)[ctx.group.rank()].contiguous(), None, None


def attend_to_shared_sequences(module, query, key, value, attention_mask, scaling=None, **options):
    """Causal attention by position, over the keys and values of all processes that share the sequence."""
    degrees = AcceleratorState().parallelism_config
    if (
        degrees is None
        or degrees.cp_size == 1
        or query.shape[2] == module.config.max_position_embeddings
        or not torch.is_grad_enabled()
    ):
        return sdpa_attention_forward(module, query, key, value, attention_mask, scaling=scaling, **options)
    group = AcceleratorState().device_mesh["cp"].get_group()
    key, value = (Gather.apply(repeat_kv(each, query.shape[1] // each.shape[1]), 2, group) for each in (key, value))
    positions = options["position_ids"]
    mask = positions[:, None, :, None] >= Gather.apply(positions, 1, group)[:, None, None, :]
    scores = (query @ key.mT * scaling).masked_fill(~mask, -torch.inf)
    return (scores.softmax(-1) @ value).transpose(1, 2), None


def tell_share(*arguments, prepare=loop.prepare, **options):
    """``prepare``, and how much of the model this process keeps."""
    module, bare, optimizer = prepare(*arguments, **options)
    kept = sum(parameter.to_local().numel() for parameter in module.parameters())
    print(f"keeps {kept / sum(parameter.numel() for parameter in module.parameters()):.3f} of the weights")
    return module, bare, optimizer


def main() -> int:
    shard_on_processors()
    AttentionInterface.register("sdpa", attend_to_shared_sequences)
    loop.prepare = tell_share
    return child.main()


if __name__ == "__main__":
    sys.exit(main())
