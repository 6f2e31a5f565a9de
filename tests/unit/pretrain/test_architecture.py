"""Decoders by preset, and the families whose saved weights are loaded as they are."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch
from pydantic import ValidationError
from transformers import AutoConfig, AutoModelForCausalLM

from components.pretrain.architecture import fit_vocabulary, from_scratch, make
from components.pretrain.parameters import Architecture, PretrainParameters
from core import adapted
from core.errors import InputProblem

VOCABULARY = 64
SIZES = {
    "vocab_size": VOCABULARY,
    "hidden_size": 16,
    "intermediate_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "num_key_value_heads": 2,
    "head_dim": 8,
    "max_position_embeddings": 64,
    "bos_token_id": 0,
    "eos_token_id": 0,
    "pad_token_id": 1,
}
OWN = {
    "gpt2": {"n_inner": 32},
    "gptj": {"rotary_dim": 4},
    "opt": {"ffn_dim": 32, "word_embed_proj_dim": 16},
    "qwen2_moe": {"num_experts": 4, "moe_intermediate_size": 16, "shared_expert_intermediate_size": 16},
    "qwen3_moe": {"num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 16},
    "mixtral": {"num_local_experts": 4},
    "gpt_oss": {"num_local_experts": 4},
    "olmoe": {"num_experts": 4, "num_experts_per_tok": 2},
}
FAMILIES = [
    "gpt2", "gptj", "llama", "mistral", "qwen2", "qwen3", "gemma", "gemma2", "phi", "phi3", "gpt_neox", "opt", "bloom",
    "olmo", "olmo2", "starcoder2", "stablelm", "cohere", "granite", "smollm3", "mixtral", "qwen2_moe",
    "qwen3_moe", "gpt_oss", "olmoe",
]  # fmt: skip


class Tokenizer(SimpleNamespace):
    def __len__(self) -> int:
        return self.entries


TOKENIZER = Tokenizer(entries=VOCABULARY, bos_token_id=0, eos_token_id=0, pad_token_id=1)


def loaded(folder, context=32):
    parameters = PretrainParameters(init=str(folder), seq_length=context)
    messages = []
    context = SimpleNamespace(parameters=parameters, inputs={"parent": folder}, warn=messages.append)
    return make(context, TOKENIZER), messages


@pytest.mark.parametrize("family", FAMILIES)
def test_saved_weights_are_loaded_and_predict_the_same(family, tmp_path):
    torch.manual_seed(3)
    config = AutoConfig.for_model(family, **SIZES | OWN.get(family, {}))
    saved = AutoModelForCausalLM.from_config(config, dtype=torch.float32).eval()
    saved.save_pretrained(tmp_path)
    model, messages = loaded(tmp_path)
    ids = torch.arange(2, 34).view(2, 16)
    with torch.no_grad():
        assert torch.equal(model.eval()(ids).logits, saved(ids).logits)
    assert messages == []


def test_training_goes_on_from_what_an_adapter_learnt(tmp_path):
    """The weight files beside an adapter are its base's, whose training would begin anew."""
    from peft import LoraConfig, get_peft_model

    base = AutoModelForCausalLM.from_config(AutoConfig.for_model("llama", **SIZES), dtype=torch.float32)
    base.save_pretrained(tmp_path)
    learnt = get_peft_model(base, LoraConfig(r=2, target_modules="all-linear", init_lora_weights=False)).eval()
    learnt.save_pretrained(tmp_path / adapted.FOLDER)
    adapted.name_base(tmp_path)
    model, _ = loaded(tmp_path)
    ids = torch.arange(2, 34).view(2, 16)
    with torch.no_grad():
        torch.testing.assert_close(model.eval()(ids).logits, learnt(ids).logits)
        assert not torch.allclose(learnt(ids).logits, learnt.unload()(ids).logits)
    (tmp_path / "model.safetensors").write_bytes((tmp_path / "model.safetensors").read_bytes()[:-1] + b"\1")
    with pytest.raises(InputProblem, match="adapter for another base"):
        loaded(tmp_path)


def test_pickled_weights_are_refused_with_the_way_out(tmp_path):
    model = AutoModelForCausalLM.from_config(AutoConfig.for_model("llama", **SIZES))
    model.config.save_pretrained(tmp_path)
    torch.save(model.state_dict(), tmp_path / "pytorch_model.bin")
    with pytest.raises(InputProblem, match=r"no \.safetensors weights.*save_pretrained"):
        loaded(tmp_path)


def test_a_preset_takes_vocabulary_and_positions_from_the_training():
    model = from_scratch(Architecture(preset="llama-1m"), 128, TOKENIZER)
    assert (model.config.vocab_size, model.config.max_position_embeddings) == (VOCABULARY, 128)
    assert sum(p.numel() for p in model.parameters()) == 1_066_112 - (2048 - VOCABULARY) * 128


def test_what_is_set_beside_a_preset_changes_it():
    architecture = Architecture(preset="llama3-8b", num_hidden_layers=2, extra={"rms_norm_eps": 1e-6})
    with torch.device("meta"):
        config = from_scratch(architecture, 256, TOKENIZER).config
    assert (config.num_hidden_layers, config.hidden_size, config.num_key_value_heads) == (2, 4096, 8)
    assert config.rms_norm_eps == 1e-6 and config.rope_parameters["rope_theta"] == 500_000.0


def test_choices_of_dropout_and_activation_go_through():
    extra = {"attn_pdrop": 0.0, "resid_pdrop": 0.3, "activation_function": "relu"}
    model = from_scratch(Architecture(model_type="gpt2", extra=extra), 64, TOKENIZER)
    block = model.transformer.h[0]
    assert block.attn.attn_dropout.p == 0.0 and block.mlp.dropout.p == 0.3
    assert isinstance(block.mlp.act, torch.nn.ReLU)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"preset": "llama-13"}, "did you mean llama-13m"),
        ({"preset": "gpt2-small", "model_type": "llama"}, "is not gpt2-small's, which is gpt2"),
        ({"preset": "gpt2-small", "num_attention_heads": 7}, "768 is not divisible by num_attention_heads 7"),
        ({"preset": "llama3-8b", "num_key_value_heads": 5}, "32 is not divisible by num_key_value_heads 5"),
    ],
)
def test_conflicts_with_a_preset_are_told(settings, message):
    with pytest.raises(ValidationError, match=message):
        Architecture(**settings)


def test_settings_that_the_family_does_not_know_are_told_all_at_once():
    extra = {"atn_pdrop": 0.0, "wings": 2, "resid_pdrop": 0.1}
    architecture = Architecture(model_type="gpt2", intermediate_size=352, num_key_value_heads=2, extra=extra)
    with pytest.raises(InputProblem) as refused:
        from_scratch(architecture, 64, TOKENIZER)
    unknown = "the configuration of gpt2 has no such setting"
    assert refused.value.problems == [
        f"pretrain.architecture.intermediate_size: {unknown}; make it null and set extra.n_inner",
        f"pretrain.architecture.num_key_value_heads: {unknown}; make it null",
        f"pretrain.architecture.extra.atn_pdrop: {unknown}; did you mean attn_pdrop?",
        f"pretrain.architecture.extra.wings: {unknown}; leave it out",
    ]


@pytest.mark.parametrize("family", FAMILIES)
def test_what_is_not_given_is_never_told(family):
    with torch.device("meta"):
        config = from_scratch(Architecture(model_type=family, extra=OWN.get(family, {})), 64, TOKENIZER).config
    assert config.hidden_size == 128


def test_a_preset_survives_the_way_to_the_worker():
    architecture = Architecture(preset="llama3-8b", num_hidden_layers=2)
    again = Architecture(**architecture.model_dump(mode="json"))
    assert again == architecture and again.hidden_size is None
    with torch.device("meta"):
        assert from_scratch(again, 64, TOKENIZER).config.hidden_size == 4096


class Vocabulary:
    def __init__(self, *tokens: str):
        self.tokens = tokens

    def __len__(self) -> int:
        return len(self.tokens)

    def get_vocab(self) -> dict[str, int]:
        return {token: number for number, token in enumerate(self.tokens)}


@pytest.mark.parametrize("tied", [True, False])
def test_tokens_that_both_vocabularies_know_keep_their_rows(tied):
    sizes = SIZES | {"vocab_size": 4, "tie_word_embeddings": tied}
    model = AutoModelForCausalLM.from_config(AutoConfig.for_model("llama", **sizes))
    old, head = model.get_input_embeddings().weight.clone(), model.get_output_embeddings().weight.clone()
    messages = fit_vocabulary(model, Vocabulary("a", "b", "c", "d"), Vocabulary("c", "new", "a", "b", "more"))
    assert "4 rows became 5; 3 tokens" in messages and model.config.vocab_size == 5
    for weights, before in ((model.get_input_embeddings().weight, old), (model.get_output_embeddings().weight, head)):
        torch.testing.assert_close(weights[[0, 2, 3]], before[[2, 0, 1]])
        torch.testing.assert_close(weights[[1, 4]], before.mean(dim=0).expand(2, -1))
    assert (model.get_input_embeddings().weight is model.get_output_embeddings().weight) is tied


def test_the_same_vocabulary_changes_nothing():
    model = AutoModelForCausalLM.from_config(AutoConfig.for_model("llama", **SIZES | {"vocab_size": 3}))
    old = model.get_input_embeddings().weight.clone()
    assert fit_vocabulary(model, Vocabulary("a", "b", "c"), Vocabulary("a", "b", "c")) is None
    assert torch.equal(model.get_input_embeddings().weight, old)
