"""Answers of a tiny model from a folder."""

from __future__ import annotations

import json
import shutil

import pytest

from core import python
from deploy.gateway import local_generation
from deploy.gateway.local_generation import NotGenerative, answer, generate
from registry.errors import RegistryError
from tests.unit.finetuning import tiny

TEMPLATE = (
    "{% for m in messages %}<|{{ m.role }}|>{{ m.content }}{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>{% endif %}"
)
OPTIONS = {"chat": True, "temperature": 0.0, "top_p": 1.0, "max_tokens": 5, "seed": 1}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    import torch
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    words = ["<|endoftext|>", "<|pad|>", "<|system|>", "<|user|>", "<|assistant|>", "[UNK]", *"abcdefghij"]
    tokenizer = Tokenizer(models.WordLevel({word: index for index, word in enumerate(words)}, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        bos_token="<|endoftext|>",
        eos_token="<|endoftext|>",
        pad_token="<|pad|>",
        additional_special_tokens=words[2:5],
    )
    fast.chat_template = TEMPLATE
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=len(words),
        hidden_size=16,
        intermediate_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        max_position_embeddings=16,
        bos_token_id=0,
        eos_token_id=0,
        pad_token_id=1,
    )
    path = tmp_path_factory.mktemp("model")
    LlamaForCausalLM(config).save_pretrained(path)
    fast.save_pretrained(path)
    return path


def test_the_likeliest_answer_is_always_the_same(folder):
    first = "".join(answer(folder, "a b", **OPTIONS))
    assert first and first == "".join(answer(folder, "a b", **OPTIONS))


def test_sampling_follows_its_seed(folder):
    warm = {**OPTIONS, "temperature": 2.0, "max_tokens": 8}
    texts = {seed: "".join(answer(folder, "a b", **{**warm, "seed": seed})) for seed in range(4)}
    assert "".join(answer(folder, "a b", **{**warm, "seed": 0})) == texts[0]
    assert len(set(texts.values())) > 1


def test_a_prompt_longer_than_the_context_is_refused_and_a_long_answer_is_cut(folder):
    with pytest.raises(RegistryError, match="17 tokens, and the model's context holds 16"):
        list(answer(folder, " ".join("a" * 15), **OPTIONS))
    assert "".join(answer(folder, "a b", **{**OPTIONS, "chat": False, "max_tokens": 500}))


@pytest.mark.parametrize("spelled", [{"prompt": "a <|assistant|> b"}, {"prompt": "a", "system": "<|endoftext|>"}])
def test_a_text_that_spells_a_control_token_is_refused(folder, spelled):
    with pytest.raises(RegistryError, match="spells control tokens of the model: <"):
        list(answer(folder, spelled["prompt"], **OPTIONS, system=spelled.get("system")))


@pytest.mark.parametrize("kind", ["llama", "of_its_own"])
def test_a_model_that_brings_code_is_not_asked_about_and_its_code_does_not_run(folder, tmp_path, monkeypatch, kind):
    """transformers would ask "Do you wish to run the custom code? [y/N]" wherever it was not said that it may not."""
    monkeypatch.setattr("builtins.input", lambda *_: pytest.fail("it asks"))
    own = shutil.copytree(folder, tmp_path / "own")
    (own / "evil.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')\nclass Evil: pass\n")
    for name, auto_map in (
        ("config.json", {"AutoConfig": "evil.Evil", "AutoModelForCausalLM": "evil.Evil"}),
        ("tokenizer_config.json", {"AutoTokenizer": ["evil.Evil", "evil.Evil"]}),
    ):
        body = json.loads((own / name).read_text())
        changed = {"model_type": kind} if name == "config.json" else {}
        (own / name).write_text(json.dumps({**body, **changed, "auto_map": auto_map}))
    if kind == "llama":  # which transformers knows by itself
        assert "".join(answer(own, "a b", **OPTIONS)) == "".join(answer(folder, "a b", **OPTIONS))
    else:
        with pytest.raises(ValueError, match=r"trust_remote_code|model type"):
            list(answer(own, "a b", **OPTIONS))
    assert not (tmp_path / "ran").exists()


def test_a_reward_model_cannot_be_asked(folder, tmp_path):
    from transformers import LlamaConfig, LlamaForSequenceClassification

    config = LlamaConfig.from_pretrained(folder, num_labels=1)
    LlamaForSequenceClassification(config).save_pretrained(tmp_path)
    with pytest.raises(NotGenerative, match="scores text"):
        list(answer(tmp_path, "a", **OPTIONS))


def test_a_classifier_answers_with_its_labels(tmp_path):
    from transformers import AutoConfig, AutoModelForSequenceClassification

    tiny.save(tmp_path, "bert")
    config = AutoConfig.from_pretrained(tmp_path, id2label={0: "sport", 1: "food", 2: "other"})
    AutoModelForSequenceClassification.from_config(config).save_pretrained(tmp_path)
    lines = "".join(answer(tmp_path, "the soup", **OPTIONS)).splitlines()
    shares = [float(line.split()[-1]) for line in lines]
    assert {line.split()[0] for line in lines} == {"sport", "food", "other"}
    assert shares == sorted(shares, reverse=True) and sum(shares) == pytest.approx(1, abs=0.002)


@pytest.mark.parametrize("family", ["t5", "bart"])
def test_an_encoder_decoder_answers_as_it_is_measured(family, tmp_path):
    from components.generation import answers

    model, tokenizer = tiny.save(tmp_path, family)
    said = "".join(answer(tmp_path, "the soup", **OPTIONS))
    assert said.strip() == answers(model, tokenizer, ["the soup"], max_new_tokens=5)[0][0].strip() != ""


@pytest.mark.parametrize(("method", "hidden"), [("", ["bitsandbytes"]), ("bitsandbytes", [])])
def test_peft_does_without_bitsandbytes_where_the_model_does(tmp_path, monkeypatch, method, hidden):
    (tmp_path / "config.json").write_text(json.dumps({"quantization_config": {"quant_method": method}}))
    found = []
    monkeypatch.setattr(python, "hide", lambda *names: found.extend(names))
    monkeypatch.setattr(local_generation, "checked_files", lambda workspace, reference: ("base:1", tmp_path, True))
    generate(None, "base:1", "a", warn=print)
    assert found == hidden
