"""The decoder: made from a transformers configuration, or loaded and its embedding made to fit the tokenizer."""

from __future__ import annotations

import difflib
from dataclasses import fields
from pathlib import Path
from typing import Any

import torch
from huggingface_hub.errors import StrictDataclassError
from torch import Tensor, nn
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer, PreTrainedModel, PreTrainedTokenizerBase
from transformers.models.auto.configuration_auto import CONFIG_MAPPING
from transformers.models.auto.tokenization_auto import get_tokenizer_config

from components.contract import Context
from components.finetuning import families
from components.pretrain.parameters import DEFAULTS, MODEL_TYPE, Architecture, PretrainParameters
from components.pretrain.parent import FOLDER, SCRATCH, WAY_ON, unusable
from components.pretrain.presets import PRESETS
from core import adapted
from core.errors import InputProblem

_FEED_FORWARD = {"n_inner", "ffn_dim", "ffn_hidden_size"}  # what some families call their intermediate_size


def make(context: Context, tokenizer: PreTrainedTokenizerBase) -> PreTrainedModel:
    """The model that the training starts from, in float32. Random weights depend on torch's seed alone."""
    parameters: PretrainParameters = context.parameters
    if parameters.init == SCRATCH:
        model = from_scratch(parameters.architecture, parameters.seq_length, tokenizer)
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
    if problems := _unknown_settings(architecture, model_type):
        raise InputProblem(problems)
    settings |= {"vocab_size": len(tokenizer), "max_position_embeddings": context, **architecture.extra}
    settings |= {name: getattr(tokenizer, name) for name in ("bos_token_id", "eos_token_id", "pad_token_id")}
    where = "pretrain.architecture"
    try:
        config = AutoConfig.for_model(model_type, **settings)
    except (ValueError, TypeError, KeyError, StrictDataclassError) as error:
        raise InputProblem(f"{where}: transformers refuses this configuration: {error}") from error
    try:
        return AutoModelForCausalLM.from_config(config, dtype=torch.float32, trust_remote_code=False)
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
    model_type = architecture.model_type or MODEL_TYPE
    settings = {**DEFAULTS, **given}
    settings["num_key_value_heads"] = settings["num_key_value_heads"] or settings["num_attention_heads"]
    known = _known_settings(model_type)
    return model_type, {name: value for name, value in settings.items() if known is None or name in known}


def _known_settings(model_type: str) -> set[str] | None:
    """Names that the model type's configuration gives a meaning; ``None`` where transformers does not know the type."""
    if model_type not in CONFIG_MAPPING:
        return None
    kind = CONFIG_MAPPING[model_type]
    known = {field.name for field in fields(kind)} | set(kind.attribute_map) | {"attn_implementation"}
    return known | ({"rope_theta", "rope_scaling"} if "rope_parameters" in known else set())  # the names of before 5.0


def _unknown_settings(architecture: Architecture, model_type: str) -> list[str]:
    """Settings that are given and would change nothing: transformers takes any name, and keeps it unread."""
    known = _known_settings(model_type)
    if known is None:
        return []
    given = {name: "" for name in DEFAULTS if getattr(architecture, name) is not None}
    given |= dict.fromkeys(architecture.extra, "extra.")
    problems = []
    for name, where in given.items():
        if name in known:
            continue
        if where:
            near = difflib.get_close_matches(name, known, n=1)
            way_on = f"did you mean {near[0]}?" if near else "leave it out"
        else:
            own = sorted(_FEED_FORWARD & known) if name == "intermediate_size" else []
            way_on = f"make it null and set extra.{own[0]}" if own else "make it null"
        unknown = f"the configuration of {model_type} has no such setting"
        problems.append(f"pretrain.architecture.{where}{name}: {unknown}; {way_on}")
    return problems


def _load(context: Context, parameters: PretrainParameters, tokenizer: PreTrainedTokenizerBase) -> PreTrainedModel:
    folder, init = context.inputs.get("parent"), parameters.init
    if folder is None:
        raise InputProblem(f"pretrain.init: {init} is not in {FOLDER}, which is empty; {WAY_ON}")
    if problem := unusable(folder):
        raise InputProblem(f"pretrain.init: {init}: {problem}")
    families.require(folder, "pretrain")
    if problem := adapted.problem(folder):
        raise InputProblem(f"pretrain.init: {init}: {problem}")
    try:
        model = AutoModelForCausalLM.from_pretrained(
            folder, dtype=torch.float32, use_safetensors=True, trust_remote_code=False, local_files_only=True
        )
    except (OSError, ValueError, ImportError) as error:
        raise InputProblem(f"pretrain.init: cannot load a causal decoder from {init} ({folder}): {error}") from error
    model = adapted.apply(model, folder)  # what an adapter learnt is among the weights that are trained on
    longest = getattr(model.config, "max_position_embeddings", None)
    if longest is not None and parameters.seq_length > longest:
        raise InputProblem(
            f"pretrain.seq_length: {parameters.seq_length} is more than the {longest} positions of {init}"
        )
    if change := fit_vocabulary(model, _tokenizer_of(folder), tokenizer):
        context.warn(f"{init}: {change}")
    return model


def _tokenizer_of(folder: Path) -> PreTrainedTokenizerBase | None:
    """The tokenizer that lies beside a model's weights, if one does: transformers would make up an empty one."""
    try:
        if not get_tokenizer_config(folder, local_files_only=True):
            return None
        return AutoTokenizer.from_pretrained(folder, trust_remote_code=False, local_files_only=True)
    except (OSError, ValueError, KeyError, ImportError):
        return None


@torch.no_grad()
def fit_vocabulary(
    model: PreTrainedModel, before: PreTrainedTokenizerBase | None, after: PreTrainedTokenizerBase
) -> str | None:
    """Give ``model`` one row for each entry of ``after``; what was changed, in words, ``None`` where nothing was.

    Rows go with their token, by its spelling in the vocabulary; one that ``before`` does not know begins as the mean
    of all rows, which predicts it as an average token (Hewitt 2021,
    https://nlp.stanford.edu/~johnhew/vocab-expansion.html). The output layer, where it is a matrix of its own, is
    treated alike.

    Args:
        before: the tokenizer the weights were trained with; without it rows keep their ids.
    """
    embedding = model.get_input_embeddings()
    rows, entries = embedding.num_embeddings, len(after)
    if before is None:
        if rows == entries:
            return None
        model.resize_token_embeddings(entries, mean_resizing=False)
        return (
            f"no tokenizer lies beside the weights; {rows} rows of the embedding were made {entries} and keep their "
            f"ids, so that a different tokenizer makes them meaningless at first"
        )
    known, wanted = before.get_vocab(), after.get_vocab()
    if rows == entries and all(known.get(token) == number for token, number in wanted.items()):
        return None
    shared = {number: known[token] for token, number in wanted.items() if known.get(token, rows) < rows}
    kept = [embedding.weight.clone()]
    head = model.get_output_embeddings()
    apart = head is not None and head.weight is not embedding.weight
    if apart:
        kept.append(head.weight.clone())
        if getattr(head, "bias", None) is not None:
            kept.append(head.bias.clone())
    model.resize_token_embeddings(entries, mean_resizing=False)
    _fill(model.get_input_embeddings().weight, kept[0], shared)
    if apart:
        head = model.get_output_embeddings()
        for tensor, old in zip((head.weight, getattr(head, "bias", None)), kept[1:], strict=False):
            _fill(tensor, old, shared)
    return (
        f"the vocabulary differs: {rows} rows became {entries}; {len(shared)} tokens that both tokenizers know keep "
        f"theirs, {entries - len(shared)} begin as the mean"
    )


def _fill(tensor: Tensor | nn.Parameter, old: Tensor, shared: dict[int, int]) -> None:
    """Rows of ``tensor`` [entries, ...]: ``old`` [rows, ...] by ``shared`` (new id to old id), else the mean."""
    tensor[:] = old.mean(dim=0)
    new = torch.tensor(list(shared), dtype=torch.long, device=tensor.device)
    tensor[new] = old[torch.tensor(list(shared.values()), dtype=torch.long, device=tensor.device)]
