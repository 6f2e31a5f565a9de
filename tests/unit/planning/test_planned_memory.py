"""Memory by category: what autograd really keeps, and how each sharding divides what there is."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from transformers import AutoConfig, AutoModelForCausalLM

from components.optimizers import build
from components.planning import activations, memory
from components.planning.decoder import read
from components.pretrain.presets import configuration

SMALL = {
    "hidden_size": 48, "intermediate_size": 80, "num_hidden_layers": 3, "num_attention_heads": 4,
    "num_key_value_heads": 2, "vocab_size": 300,
}  # fmt: skip


def kept_by_autograd(config, rows: int, context: int) -> int:
    """Bytes of the distinct storages that a real forward pass saves, parameters left out."""
    model = AutoModelForCausalLM.from_config(config).train()
    own = {tensor.untyped_storage().data_ptr() for tensor in (*model.parameters(), *model.buffers())}
    seen = {}

    def keep(tensor):
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in own:
            seen[storage.data_ptr()] = storage  # held, so that no address is used twice
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        model.base_model(input_ids=torch.zeros(rows, context, dtype=torch.long), use_cache=False)
    return sum(storage.nbytes() for storage in seen.values())


@pytest.mark.slow
@pytest.mark.parametrize("family", ["llama", "gpt2", "qwen3", "gemma2", "gpt_neox", "falcon", "mixtral"])
def test_planned_activations_are_those_of_the_real_module(family):
    config = AutoConfig.for_model(family, **SMALL)
    rows, context = 3, 64
    planned = rows * activations.measure(config, context, on_processor=True).kept()
    assert planned == pytest.approx(kept_by_autograd(config, rows, context), rel=0.12)


def test_activations_grow_with_the_context_and_shrink_by_checkpointing():
    config = configuration("llama-13m")
    short, long = (activations.measure(config, context) for context in (128, 1024))
    assert long.kept() == pytest.approx(8 * short.kept(), rel=0.05)
    assert long.kept(checkpointed=True) < 0.35 * long.kept()
    assert long.kept(divided=4) < 0.3 * long.kept()


def test_measuring_leaves_the_random_state_alone():
    torch.manual_seed(5)
    before = torch.get_rng_state()
    activations.measure(configuration("llama-1m"), 64)
    assert torch.equal(before, torch.get_rng_state())


@pytest.mark.parametrize("optimizer", ["adamw", "muon"])
def test_moments_are_those_that_the_optimizer_keeps(optimizer):
    config = AutoConfig.for_model("llama", **SMALL)
    model = AutoModelForCausalLM.from_config(config)
    stepper = build(model, optimizer)
    model(input_ids=torch.zeros(1, 8, dtype=torch.long)).logits.sum().backward()
    stepper.step()
    states = (value for state in stepper.state.values() for value in state.values())
    kept = sum(value.nbytes for value in states if torch.is_tensor(value) and value.ndim)
    assert memory.optimizer_bytes(read(config), optimizer) == kept


def test_zero_divides_as_its_paper_says():
    """arXiv:1910.02054, table 1, with float32 states: each stage leaves one more category to a single copy."""
    decoder, kept = read(configuration("llama2-7b")), activations.measure(configuration("llama2-7b"), 2048)
    found = {m.sharding: m for m in memory.under(memory.SHARDINGS, decoder, kept, count=64, micro_batch=1)}
    weights, moments = 4 * decoder.total, 8 * decoder.total
    assert found["ddp"].weights == found["zero2"].weights == weights
    assert found["ddp"].optimizer == moments
    for stage in ("zero1", "zero2", "zero3"):
        assert found[stage].optimizer == moments // 64
    assert found["zero2"].gradients < found["zero1"].gradients / 10
    assert found["zero3"].weights < found["zero2"].weights / 10
    assert found["ddp"].total > found["zero1"].total > found["zero2"].total > found["zero3"].total
    assert found["tp"].weights == pytest.approx(weights / 8, rel=0.001)
    assert found["tp"].activations < found["ddp"].activations / 2


def test_bfloat16_adds_copies_of_weights_and_halves_much_of_what_is_kept():
    config = configuration("llama-110m")
    decoder = read(config)
    full = memory.per_device(decoder, activations.measure(config, 1024), "ddp", count=1, micro_batch=4)
    kept = activations.measure(config, 1024, mixed=True)
    mixed = memory.per_device(decoder, kept, "ddp", count=1, micro_batch=4, precision="bf16")
    assert mixed.weights == full.weights * 1.5
    assert 0.5 < mixed.activations / full.activations < 0.8


DECODER = read(configuration("llama-13m"))
KEPT = activations.measure(configuration("llama-13m"), 256)


@given(
    sharding=st.sampled_from(memory.SHARDINGS),
    count=st.sampled_from([1, 2, 5, 8, 64]),
    capacity=st.floats(1e8, 1e12),
    checkpointed=st.booleans(),
)
def test_the_largest_micro_batch_is_the_last_that_fits(sharding, count, capacity, checkpointed):
    def total(micro_batch):
        return memory.per_device(
            DECODER, KEPT, sharding, count=count, micro_batch=micro_batch, checkpointed=checkpointed
        ).total

    largest = memory.per_device(
        DECODER, KEPT, sharding, count=count, micro_batch=1, checkpointed=checkpointed
    ).largest_micro_batch(capacity)
    assert total(largest) <= capacity or largest == 0
    assert total(largest + 1) > capacity


@given(count=st.integers(1, 64))
def test_heads_are_divided_evenly(count):
    degree = memory.tensor_devices(DECODER, count)
    assert count % degree == 0 and DECODER.heads % degree == 0 and degree <= memory.TENSOR_DEVICES
