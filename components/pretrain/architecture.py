"""The decoder: made from a transformers configuration, or loaded."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from huggingface_hub.errors import StrictDataclassError
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer, PreTrainedModel, PreTrainedTokenizerBase
from transformers.models.auto.tokenization_auto import get_tokenizer_config

from components.contract import Context, InputProblem
from components.pretrain.parameters import DEFAULTS, MODEL_TYPE, Architecture, PretrainParameters
from components.pretrain.presets import PRESETS
from components.pretrain.vocabulary import fit_vocabulary


def make(context: Context, tokenizer: PreTrainedTokenizerBase) -> PreTrainedModel:
    """The model that the training starts from, in float32. Random weights depend on torch's seed alone."""
    parameters: PretrainParameters = context.parameters
    if parameters.init == "scratch":
        model = from_scratch(parameters.architecture, parameters.context, tokenizer)
    else:
        model = _load(context, parameters, tokenizer)
    for name in ("bos_token_id", "eos_token_id", "pad_token_id"):
        setattr(model.config, name, getattr(tokenizer, name))
        setattr(model.generation_config, name, getattr(tokenizer, name))
    model.config.use_cache = True
    return model


def from_scratch(architecture: Architecture, context: int, tokenizer: PreTrainedTokenizerBase) -> PreTrainedModel:
    """A model with random weights and exactly the tokenizer's vocabulary."""
    model_type, settings = _settings(architecture)
    settings |= {"vocab_size": len(tokenizer), "max_position_embeddings": context, **architecture.extra}
    settings |= {name: getattr(tokenizer, name) for name in ("bos_token_id", "eos_token_id", "pad_token_id")}
    where = "pretrain.architecture"
    try:
        config = AutoConfig.for_model(model_type, **settings)
    except (ValueError, TypeError, KeyError, StrictDataclassError) as error:
        raise InputProblem(f"{where}: transformers refuses this configuration: {error}") from error
    try:
        return AutoModelForCausalLM.from_config(config, dtype=torch.float32)
    except (ValueError, TypeError, AttributeError) as error:
        raise InputProblem(
            f"{where}: no causal decoder can be made of model_type {config.model_type}: {error}"
        ) from error


def _settings(architecture: Architecture) -> tuple[str, dict[str, Any]]:
    """Model type and common settings: the preset's, or the defaults, and what is given put over them."""
    given = {name: getattr(architecture, name) for name in DEFAULTS if getattr(architecture, name) is not None}
    if architecture.preset is not None:
        preset = PRESETS[architecture.preset]
        return preset.model_type, {**preset.settings, **given}
    settings = {**DEFAULTS, **given}
    settings["num_key_value_heads"] = settings["num_key_value_heads"] or settings["num_attention_heads"]
    return architecture.model_type or MODEL_TYPE, settings


def _load(context: Context, parameters: PretrainParameters, tokenizer: PreTrainedTokenizerBase) -> PreTrainedModel:
    folder = Path(parameters.init)
    if folder.exists() and not (folder / "config.json").exists():
        raise InputProblem(f"pretrain.init: {folder} has no config.json; name a Hugging Face model folder")
    if folder.exists() and not any(folder.glob("*.safetensors")):
        raise InputProblem(
            f"pretrain.init: {folder} has no .safetensors weights, and no others are loaded since reading a pickle "
            f"can run code; where you trust it: AutoModelForCausalLM.from_pretrained(folder).save_pretrained(another)"
        )
    try:
        model = AutoModelForCausalLM.from_pretrained(
            parameters.init, dtype=torch.float32, use_safetensors=True, trust_remote_code=False
        )
    except (OSError, ValueError, ImportError) as error:
        raise InputProblem(
            f"pretrain.init: cannot load a causal decoder from {parameters.init!r}, neither as a folder nor from the "
            f"hub: {error}"
        ) from error
    longest = getattr(model.config, "max_position_embeddings", None)
    if longest is not None and parameters.context > longest:
        raise InputProblem(
            f"pretrain.context: {parameters.context} is more than the {longest} positions of {parameters.init}"
        )
    if told := fit_vocabulary(model, _tokenizer_of(parameters.init), tokenizer):
        context.warn(f"{parameters.init}: {told}")
    return model


def _tokenizer_of(name: str) -> PreTrainedTokenizerBase | None:
    """The tokenizer that lies beside a model's weights, if one does: transformers would make up an empty one."""
    try:
        if not get_tokenizer_config(name):
            return None
        return AutoTokenizer.from_pretrained(name, trust_remote_code=False)
    except (OSError, ValueError, KeyError, ImportError):
        return None
