"""What is promoted may be of any family, with its adapter or without: each is loaded as its kind, and tried."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from transformers import AutoConfig, PreTrainedTokenizerFast

from core import adapted
from registry.promotion.sanity import NotSane, examine

WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", *"How many parameters does this function take def f a b".split()]
SMALL = {
    "vocab_size": len(WORDS),
    "pad_token_id": 0,
    "bos_token_id": 2,
    "eos_token_id": 3,
    "max_position_embeddings": 64,
}
BERT = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16}
T5 = {"d_model": 16, "d_kv": 8, "d_ff": 16, "num_layers": 1, "num_heads": 2, "decoder_start_token_id": 0}
BART = {"d_model": 16, "encoder_layers": 1, "decoder_layers": 1, "encoder_attention_heads": 2,
        "decoder_attention_heads": 2, "encoder_ffn_dim": 16, "decoder_ffn_dim": 16, "init_std": 0.5}  # fmt: skip


def save(folder: Path, kind: str, settings: dict, architecture: str, **more):
    """A tiny random model of a family, with a tokenizer that puts [CLS] and [SEP] around a text."""
    import transformers

    torch.manual_seed(0)
    config = AutoConfig.for_model(kind, **{**SMALL, **settings, **more})
    model = getattr(transformers, architecture)(config)
    model.save_pretrained(folder)
    words = Tokenizer(models.WordLevel({word: place for place, word in enumerate(WORDS)}, unk_token="[UNK]"))
    words.pre_tokenizer = pre_tokenizers.Whitespace()
    words.post_processor = processors.TemplateProcessing("[CLS] $A [SEP]", None, [("[CLS]", 2), ("[SEP]", 3)])
    PreTrainedTokenizerFast(
        tokenizer_object=words, pad_token="[PAD]", unk_token="[UNK]", cls_token="[CLS]", sep_token="[SEP]",
        bos_token="[CLS]", eos_token="[SEP]",
    ).save_pretrained(folder)  # fmt: skip
    return model


@pytest.mark.parametrize(
    ("kind", "settings", "architecture", "check"),
    [
        ("bert", BERT, "BertForSequenceClassification", ("scores", "3 finite scores")),
        ("bert", BERT, "BertModel", ("encoding", "17 tokens, finite vectors of 16")),
        ("bert", BERT, "BertForMaskedLM", ("encoding", f"17 tokens, finite vectors of {len(WORDS)}")),
        ("modernbert", {**BERT, "cls_token_id": 2, "sep_token_id": 3}, "ModernBertForSequenceClassification",
         ("scores", "3 finite scores")),
        ("bart", BART, "BartForSequenceClassification", ("scores", "3 finite scores")),
        ("t5", T5, "T5ForSequenceClassification", ("scores", "3 finite scores")),
    ],
)  # fmt: skip
def test_an_encoder_is_tried_as_what_it_is(tmp_path, kind, settings, architecture, check):
    save(tmp_path, kind, settings, architecture, num_labels=3)
    passed = examine(tmp_path)
    assert passed[0][1].startswith(f"{architecture}, ") and passed[1] == check


def test_a_model_that_rewrites_texts_answers_one(tmp_path):
    save(tmp_path, "bart", BART, "BartForConditionalGeneration", decoder_start_token_id=3, forced_eos_token_id=None)
    (name, answer) = examine(tmp_path)[1]
    assert name == "generation" and answer.startswith("text: ")


def test_weights_that_are_not_finite_are_found_in_an_encoder(tmp_path):
    model = save(tmp_path, "bert", BERT, "BertModel")
    with torch.no_grad():
        model.embeddings.word_embeddings.weight.fill_(float("nan"))
    model.save_pretrained(tmp_path)
    with pytest.raises(NotSane, match="not finite numbers"):
        examine(tmp_path)


def test_a_classifiers_adapter_brings_its_head_and_belongs_to_its_base(tmp_path):
    """The files beside the adapter are the decoder's: without it there is no head to score with."""
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForSequenceClassification

    llama = {**BERT, "num_key_value_heads": 2}
    save(tmp_path, "llama", llama, "LlamaForCausalLM")
    model = AutoModelForSequenceClassification.from_pretrained(tmp_path, num_labels=3)
    wrapped = get_peft_model(model, LoraConfig(r=2, target_modules="all-linear", task_type="SEQ_CLS"))
    wrapped.save_pretrained(tmp_path / adapted.FOLDER)
    config = {**model.config.to_dict(), "architectures": ["LlamaForSequenceClassification"]}
    (tmp_path / "config.json").write_text(json.dumps(config))
    adapted.name_base(tmp_path)
    passed = examine(tmp_path)
    assert "LlamaForSequenceClassification with its adapter" in passed[0][1]
    assert passed[1] == ("scores", "3 finite scores")

    base = tmp_path / "model.safetensors"
    base.write_bytes(base.read_bytes()[:-1] + b"\0")
    with pytest.raises(NotSane, match="adapter for another base"):
        examine(tmp_path)
