"""Loading and saving models so that equal weights are equal bytes, wherever the folders lie."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any


def load_tokenizer(folder: Path) -> Any:
    """The tokenizer saved with a model."""
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(folder, local_files_only=True)


def load_causal(folder: Path) -> Any:
    """A causal language model in float32, on the accelerator if there is one."""
    import torch
    from transformers import AutoModelForCausalLM

    return AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, local_files_only=True).to(device())


def device() -> str:
    """Where the stage computes: this process's accelerator, or the processor."""
    import torch

    return f"cuda:{os.environ.get('LOCAL_RANK', '0')}" if torch.cuda.is_available() else "cpu"


def context_length(model: Any, tokenizer: Any, seq_length: int | None = None) -> int:
    """Most tokens that the model takes, or ``seq_length`` if that is fewer."""
    longest = int(getattr(model.config, "max_position_embeddings", None) or tokenizer.model_max_length)
    return min(longest, seq_length or longest)


def save(model: Any, tokenizer: Any, folder: Path, *, max_new_tokens: int | None = None) -> None:
    """Save a model and its tokenizer as one transformers folder.

    Args:
        max_new_tokens: answers of a causal model end after so many tokens unless the caller says otherwise.
    """
    model.config.pad_token_id = tokenizer.pad_token_id
    if max_new_tokens is not None:
        generation = model.generation_config
        generation.eos_token_id = tokenizer.eos_token_id
        generation.pad_token_id = tokenizer.pad_token_id
        generation.do_sample = False
        generation.max_new_tokens = max_new_tokens
    model.save_pretrained(folder, safe_serialization=True)
    tokenizer.save_pretrained(folder)
    for name in ("config.json", "tokenizer_config.json"):
        _forget_origin(folder / name)


def _forget_origin(path: Path) -> None:
    """Drop what names the folder the model came from or the library that trained it."""
    settings = json.loads(path.read_text(encoding="utf-8"))
    for key in ("_name_or_path", "name_or_path", "model_tags", "is_local", "local_files_only"):
        settings.pop(key, None)
    path.write_text(json.dumps(settings, indent=2, sort_keys=True, ensure_ascii=False) + "\n", encoding="utf-8")
