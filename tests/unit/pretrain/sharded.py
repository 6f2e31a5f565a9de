"""Saves a training whose state is sharded (FSDP2), puts it back into another one, and trains both on.

Usage, under torchrun: sharded.py FOLDER. Exits with 0 if both end with the same bits in every process.
"""

from __future__ import annotations

import sys
from pathlib import Path

import torch
import torch.distributed
from accelerate import Accelerator
from torch.distributed.fsdp import fully_shard
from torch.distributed.tensor import DTensor
from transformers import LlamaConfig, LlamaForCausalLM

from components import optimizers
from components.contract import Context
from components.pretrain.parameters import PretrainParameters
from components.pretrain.progress import Progress
from components.pretrain.training_state import TrainingState


def make(seed: int, mesh) -> tuple[LlamaForCausalLM, torch.optim.Optimizer]:
    torch.manual_seed(seed)
    config = LlamaConfig(
        vocab_size=64, hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=2
    )
    model = LlamaForCausalLM(config)
    for layer in model.model.layers:
        fully_shard(layer, mesh=mesh)
    fully_shard(model, mesh=mesh)
    return model, optimizers.build(model, "adamw")


def step(model: LlamaForCausalLM, optimizer: torch.optim.Optimizer, seed: int) -> None:
    torch.manual_seed(seed)
    ids = torch.randint(0, 64, (2, 16))
    model(input_ids=ids, labels=ids).loss.backward()
    optimizer.step()
    optimizer.zero_grad()


def main() -> None:
    accelerator = Accelerator(cpu=True)
    rank, world = accelerator.process_index, accelerator.num_processes
    mesh = torch.distributed.init_device_mesh("cpu", (world,))
    context = Context(
        parameters=PretrainParameters(), seed=0, inputs={}, outputs={}, scratch=Path(sys.argv[1]) / "scratch"
    )
    model, optimizer = make(0, mesh)
    for n in range(3):
        step(model, optimizer, 10 * n + rank)
    with TrainingState(context, accelerator, model, optimizer) as state:
        state.save(Progress(step=3))
    accelerator.wait_for_everyone()

    other, resumed = make(1, mesh)
    progress = TrainingState(context, accelerator, other, resumed).resume()
    assert progress.step == 3
    for n in range(3, 5):
        step(model, optimizer, 10 * n + rank)
        step(other, resumed, 10 * n + rank)
    for (name, mine), theirs in zip(model.named_parameters(), other.parameters(), strict=True):
        assert isinstance(theirs, DTensor) and torch.equal(mine.to_local(), theirs.to_local()), name


if __name__ == "__main__":
    main()
