"""Tiny random decoders of the families that people bring, for what must hold for any."""

from __future__ import annotations

from pathlib import Path
from typing import Any

SMALL = {"vocab_size": 96, "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4,
         "num_key_value_heads": 2, "max_position_embeddings": 64, "pad_token_id": 0, "bos_token_id": 1,
         "eos_token_id": 2}  # fmt: skip
FAMILIES: dict[str, dict[str, Any]] = {
    "llama": {"tie_word_embeddings": True},
    "qwen2": {},
    "qwen3": {"head_dim": 8},
    "gemma3_text": {"head_dim": 8, "sliding_window": 8, "layer_types": ["sliding_attention", "full_attention"]},
    "mistral": {"sliding_window": None},
    "phi3": {},
    "gpt2": {},
    "mixtral": {"num_local_experts": 4, "num_experts_per_tok": 2},
    "qwen2_moe": {"num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 16,
                  "shared_expert_intermediate_size": 32},
}  # fmt: skip


def tiny(family: str, folder: Path, kind: str = "AutoModelForCausalLM", **changes: Any) -> Path:
    """Save a random model of ``family`` in ``folder``, in evaluation mode and without dropout."""
    import torch
    import transformers

    config = transformers.AutoConfig.for_model(family, **SMALL | FAMILIES[family] | changes)
    for name in ("attention_dropout", "attn_pdrop", "embd_pdrop", "resid_pdrop"):
        if hasattr(config, name):
            setattr(config, name, 0.0)
    torch.manual_seed(0)
    getattr(transformers, kind).from_config(config).save_pretrained(folder)
    return folder
