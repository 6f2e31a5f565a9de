"""A real decoder of a few hundred weights, written without torch: it counts from its start token to its end token.

Test workspaces copy this file beside their stages, so that what they register loads and answers as any model does.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy
from safetensors.numpy import save_file

WORDS = ["<start>", "one", "two", "three", "four", "five", "six", "<end>"]


def save(folder: Path, scale: float) -> None:
    """Write the model; ``scale`` (above 0) multiplies its output weights, so other scales are other bytes."""
    size = len(WORDS)
    zeros, successors = numpy.zeros((size, size), dtype="float32"), numpy.eye(size, dtype="float32")
    layer = "model.layers.0"
    weights = {
        # Token i is the unit vector i; the layer adds nothing; the output row of token i + 1 looks for vector i.
        "model.embed_tokens.weight": numpy.eye(size, dtype="float32"),
        **{f"{layer}.self_attn.{name}_proj.weight": zeros for name in "qkvo"},
        **{f"{layer}.mlp.{name}_proj.weight": zeros for name in ("gate", "up", "down")},
        f"{layer}.input_layernorm.weight": numpy.ones(size, dtype="float32"),
        f"{layer}.post_attention_layernorm.weight": numpy.ones(size, dtype="float32"),
        "model.norm.weight": numpy.ones(size, dtype="float32"),
        "lm_head.weight": numpy.roll(successors, 1, axis=0) * numpy.float32(scale),
    }
    folder.mkdir(parents=True, exist_ok=True)
    save_file({name: numpy.ascontiguousarray(value) for name, value in weights.items()}, folder / "model.safetensors")
    config = {
        "architectures": ["LlamaForCausalLM"], "model_type": "llama", "vocab_size": size, "hidden_size": size,
        "intermediate_size": size, "num_hidden_layers": 1, "num_attention_heads": 2, "num_key_value_heads": 2,
        "max_position_embeddings": 64, "tie_word_embeddings": False, "bos_token_id": 0, "eos_token_id": size - 1,
        "pad_token_id": size - 1, "dtype": "float32",
    }  # fmt: skip
    tokenizer = {
        "version": "1.0", "truncation": None, "padding": None, "normalizer": None, "post_processor": None,
        "decoder": None, "pre_tokenizer": {"type": "Whitespace"},
        "added_tokens": [
            {"id": index, "content": WORDS[index], "single_word": False, "lstrip": False, "rstrip": False,
             "normalized": False, "special": True} for index in (0, size - 1)
        ],
        "model": {"type": "WordLevel", "vocab": {word: i for i, word in enumerate(WORDS)}, "unk_token": "one"},
    }  # fmt: skip
    special = {"tokenizer_class": "PreTrainedTokenizerFast", "bos_token": WORDS[0], "eos_token": WORDS[-1],
               "pad_token": WORDS[-1]}  # fmt: skip
    for name, body in (("config", config), ("tokenizer", tokenizer), ("tokenizer_config", special)):
        (folder / f"{name}.json").write_text(json.dumps(body, indent=1))
