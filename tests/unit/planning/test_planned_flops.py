"""Planned FLOPs against those that PyTorch counts in the real module."""

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode
from transformers import AutoConfig, AutoModelForCausalLM

from components.planning import flops
from components.planning.decoder import read

SMALL = {
    "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4,
    "num_key_value_heads": 2, "vocab_size": 300,
}  # fmt: skip
ROWS, CONTEXT = 2, 40


@pytest.mark.parametrize("family", ["llama", "gpt2", "gpt_neox", "qwen3", "gemma2", "opt", "phi", "olmo2"])
def test_forward_and_backward_of_the_real_module(family):
    """Eager attention computes every score, so that the full count must agree to the last FLOP."""
    config = AutoConfig.for_model(family, **SMALL)
    model = AutoModelForCausalLM.from_config(config, attn_implementation="eager").eval()
    ids = torch.randint(300, (ROWS, CONTEXT))
    decoder = read(config)
    with FlopCounterMode(display=False) as counter:
        model(input_ids=ids, use_cache=False).logits.sum().backward()
    planned = flops.TRAINING * flops.forward_per_token(decoder, CONTEXT, causal=False) * ROWS * CONTEXT
    assert counter.get_total_flops() == pytest.approx(planned, rel=0.002)


@pytest.mark.parametrize("context, window", [(1, None), (7, None), (9, 4), (9, 9), (5, 100), (64, 1)])
def test_keys_a_token_attends_to(context, window):
    seen = [min(position, window or context) for position in range(1, context + 1)]
    assert flops.mean_keys(context, window) == pytest.approx(sum(seen) / context)


def test_a_long_context_costs_more_and_a_window_bounds_it():
    full = read(AutoConfig.for_model("mistral", **SMALL, sliding_window=None))
    windowed = read(AutoConfig.for_model("mistral", **SMALL, sliding_window=16))
    assert flops.forward_per_token(full, 4096) > flops.forward_per_token(full, 128)
    assert flops.attention_per_token(windowed, 4096) < 16 * 2 * 2 * 2 * 32 + 1
