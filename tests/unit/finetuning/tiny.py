"""Random models of many families, with two blocks and a width of 32, each beside a tokenizer as its family has it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

WORDS = "the a ball team goal match keeper field soup salt bread oven onion rice pot went over won needs bake".split()
DECODERS = ("llama", "qwen2", "qwen3", "gemma", "gemma2", "mistral", "phi", "phi3", "gpt2", "mixtral", "qwen2_moe")
ENCODERS = ("bert", "roberta", "modernbert", "distilbert", "albert")
ENCODER_DECODERS = ("t5", "bart")

_NAMES = {  # of the common settings, where a family has names of its own
    "gpt2": {"n_embd": 32, "n_layer": 2, "n_head": 2, "n_positions": 64},
    "t5": {"d_model": 32, "d_ff": 64, "d_kv": 16, "num_layers": 2, "num_heads": 2},
    "bart": {"d_model": 32, "encoder_layers": 2, "decoder_layers": 2, "encoder_attention_heads": 2,
             "decoder_attention_heads": 2, "encoder_ffn_dim": 64, "decoder_ffn_dim": 64, "max_position_embeddings": 64},
    "distilbert": {"dim": 32, "hidden_dim": 64, "n_layers": 2, "n_heads": 2, "max_position_embeddings": 64},
}  # fmt: skip
_USUAL = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2,
          "max_position_embeddings": 64}  # fmt: skip
_MORE: dict[str, dict[str, Any]] = {
    "gemma": {"num_key_value_heads": 1, "head_dim": 16},
    "gemma2": {"num_key_value_heads": 1, "head_dim": 16, "sliding_window": 8, "query_pre_attn_scalar": 16},
    "qwen2": {"num_key_value_heads": 1},
    "mistral": {"num_key_value_heads": 1, "sliding_window": 8},
    "qwen3": {"num_key_value_heads": 1, "head_dim": 16},
    "mixtral": {"num_key_value_heads": 1, "num_local_experts": 2, "num_experts_per_tok": 1},
    "qwen2_moe": {"num_key_value_heads": 1, "num_experts": 2, "num_experts_per_tok": 1, "moe_intermediate_size": 32,
                  "shared_expert_intermediate_size": 32},
    "roberta": {"max_position_embeddings": 66},
    "modernbert": {"local_attention": 8, "global_attn_every_n_layers": 2},
    "albert": {"embedding_size": 16},
}  # fmt: skip


def save(folder: Path, family: str, *, seed: int = 0, spread: float = 0.3, **settings: Any) -> tuple[Any, Any]:
    """Write a model of the family and its tokenizer; they are returned too.

    Args:
        spread: of the noise on fresh matrices, which are so alike that most families would repeat one token; they learn
            faster without it.
    """
    import torch
    from transformers import AutoConfig, AutoModel, AutoModelForCausalLM, AutoModelForSeq2SeqLM

    tokenizer = tokenizer_of(family)
    ids = {f"{name}_token_id": getattr(tokenizer, f"{name}_token_id") for name in ("bos", "eos", "pad")}
    if family in ENCODER_DECODERS:
        ids["decoder_start_token_id"] = tokenizer.pad_token_id if family == "t5" else tokenizer.eos_token_id
    given = {**_NAMES.get(family, _USUAL), **_MORE.get(family, {}), **ids, "vocab_size": len(tokenizer), **settings}
    config = AutoConfig.for_model(family, **given)
    torch.manual_seed(seed)
    kinds = {**dict.fromkeys(ENCODERS, AutoModel), **dict.fromkeys(ENCODER_DECODERS, AutoModelForSeq2SeqLM)}
    model = kinds.get(family, AutoModelForCausalLM).from_config(config).float()
    with torch.no_grad():
        for weights in model.parameters():
            if weights.ndim > 1 and spread:
                weights.add_(torch.randn_like(weights) * spread)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return model.eval(), tokenizer


def tokenizer_of(family: str) -> Any:
    """Words, with the special tokens and their places that the family is used to."""
    from tokenizers import Tokenizer, models, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    if family in ("bert", "distilbert", "modernbert", "albert"):
        special = {"pad_token": "[PAD]", "unk_token": "[UNK]", "cls_token": "[CLS]", "sep_token": "[SEP]"}
        around = ("[CLS]", "[SEP]")
    elif family in ("roberta", "bart"):
        special = {"bos_token": "<s>", "pad_token": "<pad>", "eos_token": "</s>", "unk_token": "<unk>",
                   "cls_token": "<s>", "sep_token": "</s>"}  # fmt: skip
        around = ("<s>", "</s>")
    elif family == "t5":
        special = {"pad_token": "<pad>", "eos_token": "</s>", "unk_token": "<unk>"}
        around = ("", "</s>")
    else:
        special = {"bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>"}  # no padding token, as many have none
        around = ("", "")
    vocabulary = {word: place for place, word in enumerate(dict.fromkeys([*special.values(), *WORDS]))}
    whole = Tokenizer(models.WordLevel(vocabulary, unk_token=special["unk_token"]))
    whole.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    single = " ".join(filter(None, (around[0], "$A", around[1])))
    twice = around[1] if family in ("roberta", "bart") else ""
    double = " ".join(filter(None, (single, twice, "$B:1", f"{around[1]}:1")))
    if around[1]:
        whole.post_processor = processors.TemplateProcessing(
            single=single, pair=double, special_tokens=[(name, vocabulary[name]) for name in around if name]
        )
    return PreTrainedTokenizerFast(tokenizer_object=whole, model_max_length=64, **special)
