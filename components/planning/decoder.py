"""A decoder's sizes: its parameters by part, counted on the module itself without any memory, and what FLOPs need."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import nn
    from transformers import PreTrainedConfig

PARTS = ("embeddings", "attention", "feed_forward", "experts", "norms", "head", "other")
_ATTENTION = ("attn", "attention", "mixer")
_FEED_FORWARD = ("mlp", "ffn", "feed_forward", "ff", "fc1", "fc2", "dense_h_to_4h", "dense_4h_to_h")
_ROUTERS = ("router", "gate")


@dataclass(frozen=True)
class Decoder:
    """Sizes of a causal decoder.

    Attributes:
        name: what to call it.
        model_type: transformers' name of the family.
        parameters: by part (:data:`PARTS`); tied ones counted once, as embeddings.
        active: parameters that a token passes through: all but those of the experts it is not sent to.
        products: of these, the weights of matrix products, the output layer's included: each costs a token two
            FLOPs forward.
        hidden: of all parameters, those that Muon would take (two-dimensional weights inside the blocks).
        largest_block: parameters of the largest block, which FSDP gathers whole.
        norms_per_block: parameters of a block's norms, which tensor parallelism does not divide.
        windows: for each block the number of positions a token can look back to, itself included; None: all.
        score_width: query heads times the width of their keys, by which one score for each head costs two FLOPs.
        value_width: query heads times the width of their values.
        heads: query heads.
        key_value_heads: key and value heads.
        width: of the residual stream.
        vocabulary: rows of the embedding.
    """

    name: str
    model_type: str
    parameters: Mapping[str, int]
    active: int
    products: int
    hidden: int
    largest_block: int
    norms_per_block: int
    windows: tuple[int | None, ...]
    score_width: int
    value_width: int
    heads: int
    key_value_heads: int
    width: int
    vocabulary: int

    @property
    def total(self) -> int:
        """All parameters."""
        return sum(self.parameters.values())


def read(config: PreTrainedConfig, name: str | None = None) -> Decoder:
    """The sizes of the model that transformers makes of ``config``; nothing is allocated.

    Raises:
        ValueError, TypeError, AttributeError: transformers makes no causal decoder of it.
    """
    import torch
    from transformers import AutoModelForCausalLM

    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(config, trust_remote_code=False)
    experts, chosen = _experts(config)
    embeddings = {id(module.weight) for module in model.modules() if isinstance(module, torch.nn.Embedding)}
    inside = {id(parameter) for parameter in model.base_model.parameters()}
    output = model.get_output_embeddings()
    head = id(output.weight) if output is not None else None
    parts = dict.fromkeys(PARTS, 0)
    active = products = hidden = 0
    blocks: dict[str, int] = {}
    norms: dict[str, int] = {}
    for path, parameter in model.named_parameters():
        part = _part(path, parameter, embeddings, head, model)
        count = parameter.numel()
        parts[part] += count
        share = chosen / experts if part == "experts" and _is_expert(path) else 1
        active += round(count * share)
        is_matrix = parameter.ndim >= 2 and not path.endswith("bias")
        if is_matrix and part != "norms" and id(parameter) not in embeddings:
            products += round(count * share)
            hidden += count if parameter.ndim == 2 and id(parameter) in inside else 0
        if block := _block(path):
            blocks[block] = blocks.get(block, 0) + count
            norms[block] = norms.get(block, 0) + (count if part == "norms" else 0)
    if head in embeddings:
        products += output.weight.numel()  # a tied head multiplies like any other
    heads = config.num_attention_heads
    head_width = getattr(config, "head_dim", None) or config.hidden_size // heads
    return Decoder(
        name=name or config.model_type,
        model_type=config.model_type,
        parameters=parts,
        active=active,
        products=products,
        hidden=hidden,
        largest_block=max(blocks.values(), default=0),
        norms_per_block=max(norms.values(), default=0),
        windows=_windows(config),
        score_width=heads * (getattr(config, "qk_head_dim", None) or head_width),
        value_width=heads * (getattr(config, "v_head_dim", None) or head_width),
        heads=heads,
        key_value_heads=getattr(config, "num_key_value_heads", None) or heads,
        width=config.hidden_size,
        vocabulary=config.vocab_size,
    )


def _part(path: str, parameter: nn.Parameter, embeddings: set[int], head: int | None, model: Any) -> str:
    names = path.split(".")
    if id(parameter) in embeddings:
        return "embeddings"
    if id(parameter) == head or names[0] in ("lm_head", "embed_out"):
        return "head"
    if "norm" in type(model.get_submodule(".".join(names[:-1]))).__name__.lower():
        return "norms"
    if _is_expert(path) or any(name in _ROUTERS for name in names[:-1]):
        return "experts"
    if any(mark in name for name in names[:-1] for mark in _ATTENTION):
        return "attention"
    if any(name in _FEED_FORWARD or "mlp" in name or "expert" in name for name in names[:-1]):
        return "feed_forward"
    return "other"


def _is_expert(path: str) -> bool:
    """Whether a parameter is one of the experts that a router chooses among (shared experts serve every token)."""
    return "experts" in path.split(".")


def _block(path: str) -> str | None:
    """The first ``name.<number>`` of a path: the block that a parameter belongs to."""
    names = path.split(".")
    for index, name in enumerate(names):
        if name.isdecimal():
            return ".".join(names[: index + 1])
    return None


def _experts(config: PreTrainedConfig) -> tuple[int, int]:
    """How many experts a block has, and how many of them a token is sent to."""
    for name in ("num_local_experts", "num_experts", "n_routed_experts"):
        if experts := getattr(config, name, None):
            return int(experts), int(getattr(config, "num_experts_per_tok", None) or experts)
    return 1, 1


def _windows(config: PreTrainedConfig) -> tuple[int | None, ...]:
    window = getattr(config, "sliding_window", None)
    if not getattr(config, "use_sliding_window", True):
        window = None
    kinds = getattr(config, "layer_types", None) or (
        ["sliding_attention" if window else "full_attention"] * config.num_hidden_layers
    )
    return tuple(window if kind == "sliding_attention" else None for kind in kinds)
