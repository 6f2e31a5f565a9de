"""child.py, for `accelerate launch`, with FSDP2 and ZeRO-3 on processors: accelerate applies them to GPUs alone.

Three things are changed. The first is that decision, in the state that accelerate makes; the plugins, the launch file's
settings, the sharding of the model and the switch of the optimizer to it are accelerate's and DeepSpeed's own, over
gloo. The second is the attention of sequences that are shared: torch has ring attention as CUDA kernels alone, so keys
and values are gathered here and attended to by position. The third is an operator that DeepSpeed would compile for
processors, a minute of work, to be faster than gloo.
"""

from __future__ import annotations

import importlib
import sys

import torch
import torch.distributed as distributed
from accelerate.state import AcceleratorState, PartialState
from accelerate.utils import DistributedType
from transformers import AttentionInterface
from transformers.integrations.sdpa_attention import repeat_kv, sdpa_attention_forward

from components.pretrain import loop, zero3
from tests.unit.pretrain import child


def shard_on_processors() -> None:
    """Have accelerate treat processes that talk by gloo as it treats those that talk by NCCL."""
    original = AcceleratorState.__init__

    def make(self, mixed_precision=None, *arguments, fsdp_plugin=None, deepspeed_plugin=None, **options) -> None:
        original(self, mixed_precision, *arguments, fsdp_plugin=fsdp_plugin, **options)
        if self.distributed_type != DistributedType.MULTI_CPU:
            return
        if fsdp_plugin is not None:
            self.distributed_type = PartialState._shared_state["distributed_type"] = DistributedType.FSDP
            self.fsdp_plugin = fsdp_plugin
        elif deepspeed_plugin is not None:
            self.distributed_type = PartialState._shared_state["distributed_type"] = DistributedType.DEEPSPEED
            self._mixed_precision = "no"
            deepspeed_plugin.set_mixed_precision(mixed_precision)
            deepspeed_plugin.select(_from_accelerator_state=True)
            self.deepspeed_plugins = deepspeed_plugin
            importlib.import_module("deepspeed.comm.torch").build_shm_op = lambda: None

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


def part_of(parameter) -> tuple[int, int]:
    """Elements of a weight that this process keeps, and all of them."""
    if zero3.divided(parameter):
        return parameter.ds_tensor.numel(), parameter.ds_numel
    return parameter.to_local().numel(), parameter.numel()


def tell_share(*arguments, prepare=loop.prepare, **options):
    """``prepare``, and how much of the model this process keeps."""
    module, bare, optimizer = prepare(*arguments, **options)
    kept, everything = map(sum, zip(*map(part_of, module.parameters()), strict=True))
    print(f"keeps {kept / everything:.3f} of the weights")
    return module, bare, optimizer


def main() -> int:
    shard_on_processors()
    AttentionInterface.register("sdpa", attend_to_shared_sequences)
    loop.prepare = tell_share
    return child.main()


if __name__ == "__main__":
    sys.exit(main())
