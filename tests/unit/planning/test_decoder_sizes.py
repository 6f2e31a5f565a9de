"""Parameters by part, and what of them works for a token."""

import pytest
from transformers import AutoConfig, AutoModelForCausalLM

from components.planning.decoder import read
from components.pretrain.presets import PRESETS, configuration


@pytest.mark.parametrize("name", PRESETS)
def test_presets_have_their_published_parameters(name):
    decoder = read(configuration(name), name)
    assert decoder.total == PRESETS[name].parameters
    assert decoder.active == PRESETS[name].active
    assert decoder.parameters["other"] == 0


def test_llama2_7b_by_part():
    parts = read(configuration("llama2-7b")).parameters
    width, inner, layers, vocabulary = 4096, 11_008, 32, 32_000
    assert parts["embeddings"] == parts["head"] == vocabulary * width
    assert parts["attention"] == layers * 4 * width * width
    assert parts["feed_forward"] == layers * 3 * width * inner
    assert parts["norms"] == (2 * layers + 1) * width
    assert parts["experts"] == 0


def test_mixtral_by_part():
    parts = read(configuration("mixtral-8x7b")).parameters
    assert parts["experts"] == 32 * (8 * 3 * 4096 * 14_336 + 8 * 4096)  # the router's weights are counted with them
    assert parts["feed_forward"] == 0


def test_a_tied_head_costs_work_and_no_parameters():
    tied, apart = (
        read(AutoConfig.for_model("llama", vocab_size=1000, hidden_size=32, intermediate_size=64, num_hidden_layers=2,
                                  num_attention_heads=2, tie_word_embeddings=tie))
        for tie in (True, False)
    )  # fmt: skip
    assert apart.total - tied.total == 1000 * 32
    assert apart.products == tied.products
    assert tied.parameters["head"] == 0


def test_windows_of_alternating_blocks():
    assert read(configuration("gpt-oss-20b")).windows[:4] == (128, None, 128, None)


SMALL = {
    "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4,
    "num_key_value_heads": 2, "vocab_size": 300,
}  # fmt: skip


@pytest.mark.parametrize(
    "family", ["llama", "gpt2", "gpt_neox", "qwen2", "qwen3", "mistral", "gemma", "gemma2", "phi", "opt", "olmo2",
               "falcon", "stablelm", "cohere", "granite", "starcoder2", "bloom", "qwen3_moe", "olmoe"],
)  # fmt: skip
def test_every_familys_parameters_find_a_part(family):
    """Nothing is lost or counted twice, and what no name explains stays below a hundredth."""
    config = AutoConfig.for_model(family, **SMALL)
    decoder = read(config)
    assert decoder.total == sum(p.numel() for p in AutoModelForCausalLM.from_config(config).parameters())
    assert decoder.parameters["other"] <= 0.01 * decoder.total
    assert min(decoder.parameters[part] for part in ("embeddings", "attention", "norms")) > 0
    assert decoder.parameters["feed_forward"] + decoder.parameters["experts"] > 0
