"""A decoder's shape from nothing but its size: `stemma plan --parameters 405B`, or `--parameters 671B --active 37B`.

Width, depth and the division into experts are a guess after published models; hours, money and energy hardly depend on
them, since they follow from the parameters. Dense ones take Llama 3's proportions (arXiv:2407.21783, table 3): 128 of
width for each block, keys and values in 8 groups of heads of 128, a feed-forward layer that takes up the rest.
Mixtures take the width of a dense model of their active parameters, as DeepSeek-V3 does (arXiv:2412.19437), and send a
token to 8 experts.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from core.errors import InputProblem

if TYPE_CHECKING:
    from transformers import PreTrainedConfig

#: Below it the vocabulary outweighs the blocks, and a preset says more.
SMALLEST = 50_000_000
LARGE = 3_000_000_000  # from here on models have vocabularies as large as Llama 3's
POSITIONS = 131_072
CHOSEN_EXPERTS = 8
_HEAD = 128


def shape(parameters: int, active: int | None = None) -> PreTrainedConfig:
    """A transformers configuration of a decoder with ``parameters``, ``active`` of which a token passes through.

    The numbers that the configuration makes are within 1 % of those that were wanted.

    Raises:
        InputProblem: fewer than :data:`SMALLEST` parameters, or so few active ones that the parts that every token
            passes through do not leave room for 8 experts.
    """
    if min(parameters, active or parameters) < SMALLEST:
        raise InputProblem([f"--parameters: below {SMALLEST:,} the vocabulary decides; give a --preset instead"])
    vocabulary = 128_256 if parameters >= LARGE else 32_000
    width = _width(active or parameters)
    heads = blocks = width // _HEAD
    groups = max(group for group in range(1, 9) if heads % group == 0)
    settings: dict[str, Any] = {
        "vocab_size": vocabulary,
        "max_position_embeddings": POSITIONS,
        "hidden_size": width,
        "num_attention_heads": heads,
        "num_key_value_heads": groups,
        "head_dim": _HEAD,
        "num_hidden_layers": blocks,
        "tie_word_embeddings": parameters < LARGE,
    }
    outside = vocabulary * width * (1 if parameters < LARGE else 2)
    attention = width * _HEAD * (2 * heads + 2 * groups)
    each_of_width = 3 * width * blocks  # a unit of feed-forward width costs this many parameters in all blocks
    if active is None:
        settings["intermediate_size"] = _eights((parameters - outside - blocks * attention) / each_of_width)
        return _configuration("llama", settings)
    shared = outside + blocks * attention
    if active - shared < each_of_width:
        raise InputProblem(
            [f"--active: of {active:,} active parameters attention and vocabulary take {shared:,}; give more"]
        )
    experts = max(CHOSEN_EXPERTS + 1, round(CHOSEN_EXPERTS * (parameters - shared) / (active - shared)))
    settings |= {
        "intermediate_size": _eights((parameters - shared) / (each_of_width * experts)),
        "num_local_experts": experts,
        "num_experts_per_tok": CHOSEN_EXPERTS,
    }
    return _configuration("mixtral", settings)


def words(config: PreTrainedConfig) -> str:
    """The shape, as a plan names it."""
    experts = getattr(config, "num_local_experts", None)
    chosen = f", {experts} experts of which a token takes {config.num_experts_per_tok}" if experts else ""
    return (
        f"{config.num_hidden_layers} blocks of width {config.hidden_size:,}, feed-forward width "
        f"{config.intermediate_size:,}{chosen}, vocabulary {config.vocab_size:,}"
    )


def _eights(width: float) -> int:
    """The next multiple of 8: grouped products in bfloat16 want rows of 16 bytes."""
    return max(8, round(width / 8) * 8)


def _width(parameters: int) -> int:
    """A width whose blocks, one for each 128 of it, hold ``parameters``: about 10 of them are its third power."""
    step = 1024 if parameters >= LARGE else 256  # heads of 128 that 8 (or 2) devices divide evenly
    return max(step, round((10 * parameters) ** (1 / 3) / step) * step)


def _configuration(model_type: str, settings: dict[str, Any]) -> PreTrainedConfig:
    from transformers import AutoConfig

    return AutoConfig.for_model(model_type, **settings)
