"""Which decoders can be written as GGUF, what llama.cpp has to know of each, and how its tensors differ.

The names of tensors are mapped by the ``gguf`` package. Each family here was held against transformers by running both
(``tests/integration/export``). What llama.cpp would compute otherwise than transformers is refused.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from gguf import GGUFWriter

Config = Mapping[str, Any]
_SILU, _TANH = ("silu", "swish"), ("gelu_pytorch_tanh", "gelu_new")


@dataclass(frozen=True)
class Family:
    """A model type of transformers.

    Attributes:
        architecture: its name in ``gguf.MODEL_ARCH``.
        activations: of its feed-forward layers that llama.cpp computes.
        change: of a tensor's values, by its name in transformers.
        transposed: how the names of layers end that are stored as (inputs, outputs).
    """

    architecture: str
    activations: tuple[str, ...]
    change: Callable[[str, np.ndarray, Config], np.ndarray] = lambda name, values, config: values
    transposed: tuple[str, ...] = ()


def _rotated(name: str, values: np.ndarray, config: Config) -> np.ndarray:
    """Queries and keys of Llama: llama.cpp rotates neighbours, transformers the halves of a head.

    Rows of a head ``[0 .. d/2, d/2 .. d]`` become ``[0, d/2, 1, d/2 + 1, ..]``.
    """
    for part, heads in (("q_proj", config["num_attention_heads"]), ("k_proj", config["num_key_value_heads"])):
        if name.endswith((f"{part}.weight", f"{part}.bias")):
            rows = values.shape[0] // heads
            return values.reshape(heads, 2, rows // 2, *values.shape[1:]).swapaxes(1, 2).reshape(values.shape)
    return values


def _offset_norm(name: str, values: np.ndarray, config: Config) -> np.ndarray:
    """Gemma's norms multiply by 1 + weight; llama.cpp's by the weight."""
    return values + np.float32(1) if name.endswith("norm.weight") else values


FAMILIES = {
    "llama": Family("LLAMA", _SILU, _rotated),
    "mistral": Family("LLAMA", _SILU, _rotated),
    "qwen2": Family("QWEN2", _SILU),
    "qwen3": Family("QWEN3", _SILU),
    "gemma": Family("GEMMA", _TANH, _offset_norm),
    "phi3": Family("PHI3", _SILU),
    "gpt2": Family("GPT2", _TANH, transposed=(".c_attn.weight", ".c_proj.weight", ".c_fc.weight")),
}


def rope(config: Config) -> dict[str, Any]:
    """The rotary embedding's settings, as newer and as older configurations write them."""
    older = {**(config.get("rope_scaling") or {}), "rope_theta": config.get("rope_theta") or 10_000.0}
    found = dict(config.get("rope_parameters") or older)
    found.setdefault("rope_type", found.pop("type", "default"))
    return found


def problems(config: Config) -> list[str]:
    """Why a model of this configuration cannot be written."""
    kind = config.get("model_type")
    family = FAMILIES.get(str(kind))
    if family is None:
        return [
            f"GGUF: models of type {kind} are not among those that Stemma writes ({', '.join(FAMILIES)}); set "
            "LLAMA_CPP to a folder of llama.cpp, whose converter knows more, or use --format hf"
        ]
    found = []
    activation = config.get("hidden_act") or config.get("activation_function") or config.get("hidden_activation")
    if activation not in family.activations and not (kind == "gemma" and activation == "gelu"):
        found.append(f"GGUF: the activation is {activation}; llama.cpp computes {family.activations[0]} for {kind}")
    if config.get("quantization_config"):
        found.append("GGUF: the weights are quantized already; export a version that is not")
    if kind == "gpt2":
        wrong = [name for name in ("scale_attn_by_inverse_layer_idx", "reorder_and_upcast_attn") if config.get(name)]
        if wrong or not config.get("scale_attn_weights", True):
            found.append(f"GGUF: llama.cpp has no GPT-2 with {', '.join(wrong) or 'scale_attn_weights: false'}")
    elif (scaling := rope(config)["rope_type"]) not in ("default", "linear", "yarn", "llama3"):
        found.append(f"GGUF: rotary embeddings of type {scaling} are not written; set LLAMA_CPP to use its converter")
    elif scaling == "llama3" and kind not in ("llama", "mistral"):
        found.append(f"GGUF: llama.cpp has no {kind} with rotary embeddings of type llama3")
    return found


def describe(writer: GGUFWriter, config: Config) -> None:
    """What llama.cpp has to know besides tensors and vocabulary."""
    kind = config["model_type"]
    if kind == "gpt2":
        writer.add_context_length(config["n_positions"])
        writer.add_embedding_length(config["n_embd"])
        writer.add_feed_forward_length(config.get("n_inner") or 4 * config["n_embd"])
        writer.add_block_count(config["n_layer"])
        writer.add_head_count(config["n_head"])
        writer.add_layer_norm_eps(config["layer_norm_epsilon"])
        return
    width, heads = config["hidden_size"], config["num_attention_heads"]
    head, context = config.get("head_dim") or width // heads, config["max_position_embeddings"]
    window = config.get("sliding_window") if config.get("use_sliding_window", True) else None
    # llama.cpp attends to everything; within the window that is the same.
    writer.add_context_length(min(context, window or context))
    writer.add_embedding_length(width)
    writer.add_feed_forward_length(config["intermediate_size"])
    writer.add_block_count(config["num_hidden_layers"])
    writer.add_head_count(heads)
    writer.add_head_count_kv(config.get("num_key_value_heads") or heads)
    writer.add_layer_norm_rms_eps(config["rms_norm_eps"])
    writer.add_key_length(head)
    writer.add_value_length(head)
    writer.add_vocab_size(config["vocab_size"])
    settings = rope(config)
    writer.add_rope_dimension_count(int(head * settings.get("partial_rotary_factor", 1.0)))
    writer.add_rope_freq_base(settings["rope_theta"])
    if kind == "phi3":
        writer.add_rope_scaling_orig_ctx_len(config.get("original_max_position_embeddings") or context)
    if settings["rope_type"] in ("linear", "yarn"):
        _scaling(writer, settings, context)


def _scaling(writer: GGUFWriter, settings: Mapping[str, Any], context: int) -> None:
    from gguf import RopeScalingType

    writer.add_rope_scaling_type(RopeScalingType[settings["rope_type"].upper()])
    writer.add_rope_scaling_factor(settings["factor"])
    if settings["rope_type"] == "yarn":
        writer.add_rope_scaling_orig_ctx_len(settings.get("original_max_position_embeddings") or context)


def rope_factors(config: Config) -> np.ndarray | None:
    """Llama 3's factor of each frequency (Llama 3.1's scaling of the context); ``None`` for other models."""
    settings = rope(config)
    if config["model_type"] == "gpt2" or settings["rope_type"] != "llama3":
        return None
    head = config.get("head_dim") or config["hidden_size"] // config["num_attention_heads"]
    waves = 2 * math.pi * settings["rope_theta"] ** (np.arange(0, head, 2, dtype=np.float32) / head)
    factor, before = settings["factor"], settings["original_max_position_embeddings"]
    low, high = settings["low_freq_factor"], settings["high_freq_factor"]
    smooth = np.clip((before / waves - low) / (high - low), 0, 1)
    return (1 / ((1 - smooth) / factor + smooth)).astype(np.float32)
