"""Decoders by name: settings of transformers configurations, each with the exact number of parameters it makes.

Plain data that imports nothing heavy. The settings go by transformers' own names, so what is made of them is an
ordinary transformers model. A preset's ``vocab_size`` and ``max_position_embeddings`` are those of the published model:
they count for `stemma plan` and the parameter counts, while a training takes the vocabulary from its tokenizer and the
positions from its context.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from transformers import PreTrainedConfig


@dataclass(frozen=True)
class Preset:
    """A named decoder.

    Attributes:
        model_type: transformers' name of the family.
        settings: the family's settings that differ from its configuration's defaults, or that people look for.
        parameters: number of parameters with the preset's own vocabulary, tied ones counted once.
        active: of these, how many a token passes through: all but those of the experts it is not sent to.
        source: where the settings were published; for Stemma's own small ones, what they are for.
    """

    model_type: str
    settings: Mapping[str, Any]
    parameters: int
    active: int
    source: str

    @property
    def vocabulary(self) -> int:
        """Entries of the published model's vocabulary."""
        return self.settings["vocab_size"]

    @property
    def context(self) -> int:
        """Longest sequence of the published model, in tokens."""
        return self.settings["max_position_embeddings"]


def _gpt2(layers: int, width: int, heads: int, parameters: int) -> Preset:
    settings = {
        "vocab_size": 50257,
        "max_position_embeddings": 1024,
        "hidden_size": width,
        "num_hidden_layers": layers,
        "num_attention_heads": heads,
        "tie_word_embeddings": True,
    }
    return Preset("gpt2", settings, parameters, parameters, "https://huggingface.co/openai-community/gpt2")


def _llama(
    vocabulary: int,
    context: int,
    width: int,
    feed_forward: int,
    layers: int,
    heads: int,
    parameters: int,
    source: str,
    *,
    key_value_heads: int | None = None,
    rope_theta: float = 10_000.0,
    tied: bool = False,
    rms_norm_eps: float = 1e-5,
) -> Preset:
    settings = {
        "vocab_size": vocabulary,
        "max_position_embeddings": context,
        "hidden_size": width,
        "intermediate_size": feed_forward,
        "num_hidden_layers": layers,
        "num_attention_heads": heads,
        "num_key_value_heads": key_value_heads or heads,
        "rope_parameters": {"rope_type": "default", "rope_theta": rope_theta},
        "rms_norm_eps": rms_norm_eps,
        "tie_word_embeddings": tied,
    }
    return Preset("llama", settings, parameters, parameters, source)


def _depth(depth: int) -> Preset:
    """One dial: the width is 64 times the depth (nanochat's aspect ratio), a head has 64 dimensions.

    A decoder of the Llama family, untied; of these 12 x depth x width^2 numbers are the blocks', so that a scaling law
    is fitted to models of one shape.
    """
    vocabulary, width = 32_768, 64 * depth
    feed_forward = -(-8 * width // 3 // 64) * 64  # as many numbers in three matrices as 4 x width has in two
    blocks = depth * (4 * width**2 + 3 * width * feed_forward + 2 * width) + width
    return _llama(
        vocabulary, 2048, width, feed_forward, depth, depth, 2 * vocabulary * width + blocks,
        "https://github.com/karpathy/nanochat",
    )  # fmt: skip


_LLAMA3 = "https://arxiv.org/abs/2407.21783"
_SMALL = "the Llama family at sizes that train on a processor"

PRESETS: dict[str, Preset] = {
    "gpt2-small": _gpt2(12, 768, 12, 124_439_808),
    "gpt2-medium": _gpt2(24, 1024, 16, 354_823_168),
    "gpt2-large": _gpt2(36, 1280, 20, 774_030_080),
    "gpt2-xl": _gpt2(48, 1600, 25, 1_557_611_200),
    "llama-1m": _llama(2048, 512, 128, 352, 4, 4, 1_066_112, _SMALL, tied=True),
    "llama-3m": _llama(4096, 512, 192, 512, 5, 6, 3_000_384, _SMALL, tied=True),
    "llama-13m": _llama(8192, 1024, 320, 864, 6, 5, 12_681_280, _SMALL),
    "llama-34m": _llama(16_384, 1024, 512, 1376, 8, 8, 33_694_208, _SMALL, tied=True),
    "llama-60m": _llama(16_384, 1024, 640, 1728, 10, 10, 60_060_800, _SMALL, tied=True),
    "llama-110m": _llama(32_000, 1024, 768, 2048, 12, 12, 109_529_856, _SMALL, tied=True),
    **{f"depth-{depth}": _depth(depth) for depth in (1, 2, 3, 4, 6, 8, 12, 20, 32)},
    "llama2-7b": _llama(32_000, 4096, 4096, 11_008, 32, 32, 6_738_415_616, "https://arxiv.org/abs/2307.09288"),
    "llama3-8b": _llama(
        128_256, 8192, 4096, 14_336, 32, 32, 8_030_261_248, _LLAMA3, key_value_heads=8, rope_theta=500_000.0
    ),
    "llama3-70b": _llama(
        128_256, 8192, 8192, 28_672, 80, 64, 70_553_706_496, _LLAMA3, key_value_heads=8, rope_theta=500_000.0
    ),
    # Mixtures of experts ask for the router's auxiliary loss: without it, training from random weights sends the
    # tokens to few experts.
    "mixtral-tiny": Preset(
        "mixtral",
        {
            "vocab_size": 2048,
            "max_position_embeddings": 512,
            "hidden_size": 128,
            "intermediate_size": 176,
            "num_hidden_layers": 4,
            "num_attention_heads": 4,
            "num_key_value_heads": 4,
            "num_local_experts": 8,
            "num_experts_per_tok": 2,
            "tie_word_embeddings": True,
            "output_router_logits": True,
            "router_aux_loss_coef": 0.02,
        },
        2_692_224,
        1_070_208,
        "llama-1m with its feed-forward layers cut into experts: as much work for a token",
    ),
    "mixtral-8x7b": Preset(
        "mixtral",
        {
            "vocab_size": 32_000,
            "max_position_embeddings": 32_768,
            "hidden_size": 4096,
            "intermediate_size": 14_336,
            "num_hidden_layers": 32,
            "num_attention_heads": 32,
            "num_key_value_heads": 8,
            "num_local_experts": 8,
            "num_experts_per_tok": 2,
            "rope_parameters": {"rope_type": "default", "rope_theta": 1_000_000.0},
            "tie_word_embeddings": False,
            "output_router_logits": True,
            "router_aux_loss_coef": 0.02,
        },
        46_702_792_704,
        12_879_925_248,
        "https://arxiv.org/abs/2401.04088",
    ),
    # The model card's 3.61B active parameters leave out the embedding's 579,133,440.
    "gpt-oss-20b": Preset(
        "gpt_oss",
        {
            "vocab_size": 201_088,
            "max_position_embeddings": 131_072,
            "hidden_size": 2880,
            "intermediate_size": 2880,
            "num_hidden_layers": 24,
            "num_attention_heads": 64,
            "num_key_value_heads": 8,
            "head_dim": 64,
            "num_local_experts": 32,
            "num_experts_per_tok": 4,
            "sliding_window": 128,
            "tie_word_embeddings": False,
            "output_router_logits": True,
            "router_aux_loss_coef": 0.02,
        },
        20_914_757_184,
        4_187_440_704,
        "https://arxiv.org/abs/2508.10925",
    ),
}


#: Models of the hub that have a preset's shape, so that a training of theirs can be planned before they are fetched.
#: Positions apart: what is planned is no longer than its context.
ON_THE_HUB = {
    "openai-community/gpt2": "gpt2-small",
    "meta-llama/Llama-2-7b-hf": "llama2-7b",
    "meta-llama/Llama-2-7b-chat-hf": "llama2-7b",
    **{f"meta-llama/{family}-{size}{kind}": f"llama3-{size.lower()}"
       for family in ("Meta-Llama-3", "Llama-3.1", "Llama-3.3")
       for size in ("8B", "70B") for kind in ("", "-Instruct")},
    "mistralai/Mixtral-8x7B-v0.1": "mixtral-8x7b",
    "mistralai/Mixtral-8x7B-Instruct-v0.1": "mixtral-8x7b",
    "openai/gpt-oss-20b": "gpt-oss-20b",
}  # fmt: skip


def configuration(name: str, **changes: Any) -> PreTrainedConfig:
    """The transformers configuration of a preset, ``changes`` put over its settings.

    Raises:
        KeyError: there is no such preset.
        ValueError, StrictDataclassError: transformers refuses a setting.
    """
    from transformers import AutoConfig

    preset = PRESETS[name]
    return AutoConfig.for_model(preset.model_type, **{**preset.settings, **changes})
