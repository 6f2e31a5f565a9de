"""Loading and saving models so that equal weights are equal bytes, wherever the folders lie."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any, Literal

from components.finetuning import adapters, families
from core import adapted
from core.errors import InputProblem

_TOKENIZERS = ("tokenizer.json", "tokenizer.model", "spiece.model", "sentencepiece*.model", "vocab.*")


def load_tokenizer(folder: Path) -> Any:
    """The tokenizer saved with a model.

    Raises:
        InputProblem: there is none, or transformers cannot read it.
    """
    from transformers import AutoTokenizer

    if not any(next(folder.glob(name), None) for name in _TOKENIZERS):  # transformers would make up an empty one
        raise InputProblem(
            f"models/{folder.name}: the model has no tokenizer: no tokenizer.json, tokenizer.model or vocab file lies "
            "beside its weights; put it there, or take a model that has one"
        )
    try:
        return AutoTokenizer.from_pretrained(folder, trust_remote_code=False, local_files_only=True)
    except Exception as error:  # the tokenizers library raises no narrower one
        raise InputProblem(f"models/{folder.name}: the tokenizer cannot be read: {_line(error)}") from error


def load_causal(folder: Path, dtype: Any = "float32", **options: Any) -> Any:
    """A causal language model on the accelerator if there is one; ``dtype`` ``auto`` keeps that of its weights.

    Args:
        options: those of :func:`components.finetuning.adapters.loading`, for a model that is trained.
    """
    from transformers import AutoModelForCausalLM

    families.require_decoder(folder)
    return load(AutoModelForCausalLM, folder, dtype=dtype, **options)


def load(kind: Any, folder: Path, **options: Any) -> Any:
    """A model of an auto class on the accelerator if there is one, with the adapter in ``folder`` merged into it.

    The weights that the files lack are named by ``fresh_weights`` of a sequence classifier: those of its head.

    Raises:
        InputProblem: transformers cannot load it, other weights are missing, the adapter is not for the weights beside
            it, or a base that is an adapter's is to be quantized.
    """
    from safetensors import SafetensorError

    if problem := adapted.problem(folder):
        raise InputProblem(f"models/{problem}")
    quantized = options.get("quantization_config") is not None
    if quantized and adapted.is_adapted(folder):
        raise InputProblem(
            f"models/{folder.name} is an adapter on its base, which cannot be quantized as one; set adapter.output to "
            "merged in the stage that makes it, or adapter.type to lora here"
        )
    if quantized:
        options["device_map"] = {"": device()}
    try:
        model, info = kind.from_pretrained(
            folder, trust_remote_code=False, local_files_only=True, output_loading_info=True, **options
        )
    except (OSError, ValueError, ImportError, RuntimeError, SafetensorError) as error:
        raise InputProblem(f"models/{folder.name}: transformers cannot load this model: {_line(error)}") from error
    missing = {*info["missing_keys"], *(key for key, *_ in info["mismatched_keys"])}
    if kind.__name__ == "AutoModelForSequenceClassification":
        model.fresh_weights = frozenset(missing)
        inner = f"{model.base_model_prefix}."
        missing = {name for name in missing if name.startswith(inner) and ".pooler." not in name}
    if missing:
        raise InputProblem(
            f"models/{folder.name}: weights that a {type(model).__name__} needs are not in the files: "
            f"{', '.join(sorted(missing)[:3])}" + (f" and {len(missing) - 3} more" if len(missing) > 3 else "")
        )
    if not quantized:
        return adapted.apply(model.to(device()), folder)
    for module in model.modules():
        # On processors a forward pass without gradients would pack weights into an order that no backward pass reads.
        if hasattr(module, "support_avx512bf16_for_cpu"):
            module.support_avx512bf16_for_cpu = False
    return model


def load_reward_model(folder: Path, seed: int, dtype: Any = "float32", **options: Any) -> Any:
    """A sequence classifier with one output; its head is drawn from ``seed`` where the folder has none.

    Raises:
        InputProblem: transformers has no such head for the model's family, or cannot load it.
    """
    import torch
    from transformers import AutoModelForSequenceClassification
    from trl.trainer.reward_trainer import suppress_seqcls_warning

    families.require(folder, "reward_model")
    torch.manual_seed(seed)
    with suppress_seqcls_warning():
        return load(AutoModelForSequenceClassification, folder, num_labels=1, dtype=dtype, **options)


def device() -> str:
    """Where the stage computes: this process's accelerator, or the processor."""
    import torch

    return f"cuda:{os.environ.get('LOCAL_RANK', '0')}" if torch.cuda.is_available() else "cpu"


#: Of a model with relative positions alone, and no limit of its own: that of the parameters.
_UNLIMITED = 1_048_576


def context_length(model: Any, tokenizer: Any, seq_length: int | Literal["auto"] | None = None) -> int:
    """Most tokens that the model takes, or ``seq_length`` if that is a number and fewer.

    RoBERTa and its kin number positions from behind the padding's: of 514 positions, 512 are for tokens.
    """
    longest = int(getattr(model.config, "max_position_embeddings", None) or tokenizer.model_max_length)
    unused = [
        module.padding_idx + 1
        for name, module in model.named_modules()
        if name.endswith(".position_embeddings") and getattr(module, "padding_idx", None) is not None
    ]
    return min(longest - max(unused, default=0), seq_length if isinstance(seq_length, int) else longest, _UNLIMITED)


def give_padding(tokenizer: Any, folder: Path) -> int:
    """Have the tokenizer of the model in ``folder`` pad on the right, and return its padding token's id.

    Where it has no padding token: the one that the model's configuration names, else the end of a text.

    Raises:
        InputProblem: there is none of these.
    """
    tokenizer.padding_side = "right"
    if tokenizer.pad_token_id is None:
        config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
        named = config.get("pad_token_id")
        token = tokenizer.convert_ids_to_tokens(named) if isinstance(named, int) and named >= 0 else None
        tokenizer.pad_token = token or tokenizer.eos_token or tokenizer.sep_token or tokenizer.unk_token
    if tokenizer.pad_token_id is None:
        raise InputProblem(
            f"models/{folder.name}: the tokenizer names no padding token, no end and no unknown token: set pad_token "
            "in its tokenizer_config.json"
        )
    return int(tokenizer.pad_token_id)


def save(model: Any, tokenizer: Any, folder: Path, *, base: Path | None = None) -> None:
    """Save a model and its tokenizer as one transformers folder.

    A model with an adapter that is not merged is saved as the weight files of ``base`` beside the adapter alone.

    A model that generates keeps its parent's generation settings, with the tokenizer's end among the tokens that end
    an answer. Where the parent has none, answers are the most probable ones, as they were measured.
    """
    attached = model if adapters.is_attached(model) else None
    model = attached.get_base_model() if attached is not None else model
    model.config.pad_token_id = tokenizer.pad_token_id
    if model.can_generate():
        generation = model.generation_config
        ends = generation.eos_token_id or []
        ends = dict.fromkeys([tokenizer.eos_token_id, *([ends] if isinstance(ends, int) else ends)])
        generation.eos_token_id = tokenizer.eos_token_id if len(ends) == 1 else list(ends)
        generation.pad_token_id = tokenizer.pad_token_id
        if generation.do_sample is None:
            # Some published settings name a temperature alone; transformers refuses to save them like that.
            generation.do_sample = any(
                getattr(generation, name) is not None for name in ("temperature", "top_k", "top_p", "min_p")
            )
    if attached is None:
        model.save_pretrained(folder, safe_serialization=True)
    else:
        assert base is not None, "an adapter is saved with its base"
        _save_settings(model, base, folder)
        adapters.save_beside(attached, base, folder)
    tokenizer.save_pretrained(folder)
    for name in ("config.json", "tokenizer_config.json"):
        _forget_origin(folder / name)


def _save_settings(model: Any, base: Path, folder: Path) -> None:
    """What ``save_pretrained`` writes beside the weights, which here are those of ``base``."""
    from transformers import AutoConfig

    config = model.config.to_dict()
    config["architectures"] = [type(model).__name__]
    config["dtype"] = AutoConfig.from_pretrained(base, trust_remote_code=False, local_files_only=True).to_dict()[
        "dtype"
    ]
    config.pop("quantization_config", None)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps(config), encoding="utf-8")  # _forget_origin orders its keys
    if model.can_generate():
        model.generation_config.save_pretrained(folder)


def _forget_origin(path: Path) -> None:
    """Drop what names the folder the model came from or the library that trained it."""
    settings = json.loads(path.read_text(encoding="utf-8"))
    for key in ("_name_or_path", "name_or_path", "model_tags", "is_local", "local_files_only"):
        settings.pop(key, None)
    path.write_text(json.dumps(settings, indent=2, sort_keys=True, ensure_ascii=False) + "\n", encoding="utf-8")


def _line(error: Exception) -> str:
    """The first line of an error's message."""
    return next(iter(str(error).strip().splitlines()), type(error).__name__)
