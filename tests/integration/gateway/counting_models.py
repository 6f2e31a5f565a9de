"""Real models of a few thousand weights, written without torch, whose every word names the version that says it.

The generators count: asked anything, ``tag-1 tag-2 … tag-N`` and then they end. So a stream shows by itself whether it
is whole, and whether all of it came from one version. The classifier knows greetings from questions.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy
from safetensors.numpy import save_file

START, END, OTHER = "<start>", "<end>", "<other>"
CHAT_TEMPLATE = (
    "{% for message in messages %}{% if message.role not in ('system', 'user', 'assistant') %}"
    "{{ raise_exception('no such role: ' + message.role) }}{% endif %}{{ message.content }} {% endfor %}"
    "{% if add_generation_prompt %}<start>{% endif %}"
)
GREETINGS, QUESTIONS = ("hello", "welcome"), ("why", "how")


def counter(folder: Path, tag: str, *, length: int, context: int, chat: bool, sharpness: float = 1.0) -> None:
    """Write a generator that counts to ``length``; ``sharpness`` multiplies its logits."""
    words = [START, *(f"{tag}-{number}" for number in range(1, length + 1)), END, OTHER]
    size = len(words)
    # Token i is the unit vector i; the layer adds nothing; the output row of token i + 1 looks for vector i.
    successor = numpy.roll(numpy.eye(size, dtype="float32"), 1, axis=0) * numpy.float32(sharpness)
    successor[0] = 0  # nothing leads back to the start
    successor[1, size - 1] = sharpness  # after an unknown word, too, it begins to count
    _write(folder, words, {**_decoder(size), "lm_head.weight": successor}, {
        **_config(size, context), "architectures": ["LlamaForCausalLM"], "bos_token_id": 0, "eos_token_id": size - 2,
        "pad_token_id": size - 2,
    }, CHAT_TEMPLATE if chat else None)  # fmt: skip


def classifier(folder: Path, *, sharpness: float = 1.0) -> None:
    """Write a classifier of the last word."""
    words = [START, *GREETINGS, *QUESTIONS, END, OTHER, "<none>"]
    size = len(words)
    scores = numpy.zeros((2, size), dtype="float32")
    for label, known in enumerate((GREETINGS, QUESTIONS)):
        scores[label, [words.index(word) for word in known]] = sharpness
    _write(folder, words, {**_decoder(size), "score.weight": scores}, {
        **_config(size, 16), "architectures": ["LlamaForSequenceClassification"], "pad_token_id": size - 3,
        "id2label": {"0": "greeting", "1": "question"}, "label2id": {"greeting": 0, "question": 1},
        "problem_type": "single_label_classification",
    }, None)  # fmt: skip


def _decoder(size: int) -> dict[str, numpy.ndarray]:
    layer, zeros = "model.layers.0", numpy.zeros((size, size), dtype="float32")
    ones = numpy.ones(size, dtype="float32")
    return {
        "model.embed_tokens.weight": numpy.eye(size, dtype="float32"),
        **{f"{layer}.self_attn.{name}_proj.weight": zeros[:2] for name in "qkv"},
        f"{layer}.self_attn.o_proj.weight": zeros[:, :2],
        **{f"{layer}.mlp.{name}_proj.weight": zeros for name in ("gate", "up", "down")},
        f"{layer}.input_layernorm.weight": ones,
        f"{layer}.post_attention_layernorm.weight": ones,
        "model.norm.weight": ones,
    }


def _config(size: int, context: int) -> dict:
    return {
        "model_type": "llama", "vocab_size": size, "hidden_size": size, "intermediate_size": size,
        "num_hidden_layers": 1, "num_attention_heads": 1, "num_key_value_heads": 1, "head_dim": 2,
        "max_position_embeddings": context, "tie_word_embeddings": False, "dtype": "float32",
    }  # fmt: skip


def _write(folder: Path, words: list[str], weights: dict, config: dict, template: str | None) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    save_file({name: numpy.ascontiguousarray(value) for name, value in weights.items()}, folder / "model.safetensors")
    special = [
        {"id": words.index(word), "content": word, "single_word": False, "lstrip": False, "rstrip": False,
         "normalized": False, "special": True} for word in (START, END)
    ]  # fmt: skip
    tokenizer = {
        "version": "1.0", "truncation": None, "padding": None, "normalizer": None, "post_processor": None,
        "decoder": None, "pre_tokenizer": {"type": "WhitespaceSplit"}, "added_tokens": special,
        "model": {"type": "WordLevel", "vocab": {word: i for i, word in enumerate(words)}, "unk_token": OTHER},
    }  # fmt: skip
    about = {"tokenizer_class": "PreTrainedTokenizerFast", "bos_token": START, "eos_token": END, "pad_token": END,
             "unk_token": OTHER, **({"chat_template": template} if template else {})}  # fmt: skip
    for name, body in (("config", config), ("tokenizer", tokenizer), ("tokenizer_config", about)):
        (folder / f"{name}.json").write_text(json.dumps(body, indent=1))
