"""Plans of trainings in which an adapter learns: what PEFT makes, and published sizes."""

from __future__ import annotations

import pytest
import torch
from transformers import AutoConfig, AutoModelForCausalLM

from components.finetuning.adapters import attach
from components.finetuning.parameters import AdapterParameters
from components.planning import activations, adapters, memory
from components.planning.decoder import read
from components.pretrain.presets import configuration

TINY = {"vocab_size": 300, "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4}


@pytest.mark.parametrize("model_type", ["llama", "gpt2", "qwen3"])
@pytest.mark.parametrize("kind", ["lora", "dora"])
@pytest.mark.parametrize("targets", ["all-linear", ["q_proj", "c_attn"]])
def test_as_many_weights_learn_as_peft_makes(model_type, kind, targets):
    config = AutoConfig.for_model(model_type, **TINY)
    adapter = AdapterParameters(type=kind, rank=4, target_modules=targets)
    model = attach(AutoModelForCausalLM.from_config(config), adapter, task="causal", seed=0)
    made = sum(each.numel() for each in model.parameters() if each.requires_grad)
    assert adapters.sizes(config, adapter).learnable == made


def test_autograd_keeps_as_much_as_it_does_of_pefts_module():
    """The largest part of what a real step keeps, counted on real tensors."""
    config, adapter = (
        AutoConfig.for_model("llama", **TINY, intermediate_size=64),
        AdapterParameters(type="lora", rank=4),
    )
    model = AutoModelForCausalLM.from_config(config)
    inner = attach(model, adapter, task="causal", seed=0).train().base_model.model.model
    own = {each.untyped_storage()._cdata for each in (*inner.parameters(), *inner.buffers())}
    seen: dict[int, torch.UntypedStorage] = {}

    def keep(tensor):
        storage = tensor.untyped_storage()
        if storage._cdata not in own:
            seen[storage._cdata] = storage
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        inner(input_ids=torch.zeros(3, 64, dtype=torch.long), use_cache=False)
    planned = 3 * activations.measure(config, 64, adapter=adapter).kept()
    assert planned == pytest.approx(sum(each.nbytes() for each in seen.values()), rel=0.15)


def planned(preset: str, kind: str, *, count: int = 1, sharding: str = "ddp", checkpointed: bool = True):
    config, adapter = configuration(preset), AdapterParameters(type=kind, rank=16)
    return memory.per_device(
        read(config), activations.measure(config, 2048, mixed=True, adapter=adapter), sharding, count=count,
        micro_batch=1, precision="bf16", checkpointed=checkpointed, adapter=adapters.sizes(config, adapter),
    )  # fmt: skip


def test_published_sizes():
    """Weights of 8B parameters in bfloat16 take 16 GB; QLoRA tunes one of 65B on 48 GB (arXiv:2305.14314)."""
    eight = planned("llama3-8b", "lora")
    assert eight.weights == pytest.approx(16.06e9 + 4 * 41_943_040, rel=0.01)
    assert eight.optimizer == 2 * eight.gradients == 8 * 41_943_040
    assert planned("llama3-70b", "qlora").weights < 41e9
    assert planned("llama3-70b", "lora").weights > 140e9


def test_a_divided_base_lies_in_parts_and_a_whole_one_on_every_device():
    whole, divided = planned("llama3-8b", "lora", count=8), planned("llama3-8b", "lora", count=8, sharding="zero3")
    assert whole.weights > 16e9 and divided.weights < 4e9
    assert whole.gradients == 2 * 4 * 41_943_040  # those that wait to be sent are a second copy


def test_moments_of_eight_bits_take_a_quarter():
    assert memory.moment_bytes(1000, "adamw") == 8000 and memory.moment_bytes(1000, "paged_adamw_8bit") == 2000
