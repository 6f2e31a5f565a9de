"""Adapters: a few weights beside a frozen base learn in place of all of them.

LoRA: Hu et al. 2021, arXiv:2106.09685. DoRA: Liu et al. 2024, arXiv:2402.09353. QLoRA: Dettmers et al. 2023,
arXiv:2305.14314: LoRA on a base whose matrices are kept in 4 bits (NF4).
"""

from __future__ import annotations

import copy
import json
import shutil
from pathlib import Path
from typing import Any, Literal

from components.finetuning import sharding
from components.finetuning.parameters import AdapterParameters, FineTuningParameters
from components.training import choose_precision
from core import adapted
from core.errors import InputProblem

Task = Literal["causal", "classification", "seq2seq"]

# Layers that no adapter reaches, by what a model is for.
_TASKS = {"causal": "CAUSAL_LM", "classification": "SEQ_CLS", "seq2seq": "SEQ_2_SEQ_LM"}


def loading(parameters: FineTuningParameters) -> dict[str, Any]:
    """How the base of this training is loaded, as keywords of ``from_pretrained``.

    In float32 where its weights are trained. Frozen weights under an adapter are in bfloat16 where the stage computes
    in it, and in 4 bits (NF4, with quantized scales) for ``qlora``.
    """
    import torch

    adapter = parameters.adapter
    if adapter.type == "none":
        return {"dtype": torch.float32}
    dtype = torch.bfloat16 if choose_precision(parameters.precision).name == "bf16" else torch.float32
    if adapter.type != "qlora":
        return {"dtype": dtype}
    from transformers import BitsAndBytesConfig

    return {
        "dtype": dtype,
        "quantization_config": BitsAndBytesConfig(
            load_in_4bit=True,
            bnb_4bit_quant_type="nf4",
            bnb_4bit_use_double_quant=True,
            bnb_4bit_compute_dtype=dtype,
        ),
    }


def attach(model: Any, parameters: AdapterParameters, *, task: Task, seed: int) -> Any:
    """``model`` frozen, with a fresh adapter that is drawn from ``seed``; itself where ``parameters.type`` is ``none``.

    A classifier's or reward model's head learns as a whole beside the adapter. Right after it, the model computes what
    it computed before: an adapter begins with no change.

    Raises:
        InputProblem: the model has no module of a name in ``target_modules``, or an adapter is to stay one on a model
            that is itself an adapter on its base.
    """
    if parameters.type == "none":
        return model
    folder = Path(model.name_or_path)
    if parameters.output == "adapter" and adapted.is_adapted(folder):
        # The weights that would be copied are those of the parent's base, without the parent's adapter.
        raise InputProblem(
            f"models/{folder.name} is an adapter itself, which is no base for another: set adapter.output "
            "to merged here, or in the stage that makes it"
        )
    import torch
    from peft import LoraConfig, get_peft_model

    targets = parameters.target_modules
    heads = _heads(model) if task == "classification" else []
    torch.manual_seed(seed)
    config = LoraConfig(
        task_type=_TASKS[task],
        r=parameters.rank,
        lora_alpha=parameters.alpha,
        lora_dropout=parameters.dropout,
        target_modules=targets if isinstance(targets, str) else list(targets),
        use_dora=parameters.type == "dora",
        modules_to_save=heads or None,
        exclude_modules=rf"(.*\.)?({'|'.join(heads)})(\..*)?" if heads else None,
        # GPT-2 keeps its matrices transposed.
        fan_in_fan_out=any(type(module).__name__ == "Conv1D" for module in model.modules()),
    )
    try:
        model = get_peft_model(model, config)
        if parameters.shares_inputs:
            _share_inputs(model)
        return model
    except ValueError as error:
        if "dora" in str(error).lower():
            raise InputProblem("adapter.type: dora does not work on this model's experts: use lora") from error
        if "arget modules" not in str(error):
            raise
        names = sorted({name.rpartition(".")[2] for name, module in model.named_modules() if _is_linear(module)})
        raise InputProblem(
            f"adapter.target_modules: {targets!r} fits no part of this model; its linear layers are {', '.join(names)}"
        ) from error


def _share_inputs(model: Any) -> None:
    """Have an adapter read the input of its matrix as it is where products are computed by autocast.

    PEFT makes a copy in the precision of the adapter, of which autocast makes one in that of the products, and the
    backward pass needs that one of every adapted matrix: the same numbers, kept once more for each.
    """
    import torch
    from peft.tuners.tuners_utils import BaseTunerLayer

    def as_it_is(usual: Any) -> Any:
        return lambda x, dtype: x if x is not None and torch.is_autocast_enabled(x.device.type) else usual(x, dtype)

    for module in model.modules():
        if isinstance(module, BaseTunerLayer):
            module._cast_input_dtype = as_it_is(module._cast_input_dtype)  # type: ignore[method-assign]


def _heads(model: Any) -> list[str]:
    """Parts of a sequence classifier that learn as a whole: what lies outside the pretrained model, and its pooler
    where that is as new as the head."""
    names = [name for name, part in model.named_children() if part is not model.base_model and list(part.parameters())]
    fresh = any(".pooler." in name for name in getattr(model, "fresh_weights", ()))
    return [*names, "pooler"] if fresh else names


def is_attached(model: Any) -> bool:
    """True if ``model`` has an adapter that is not merged into it."""
    return hasattr(model, "peft_config")


def merged(model: Any) -> Any:
    """The plain transformers model with the adapter added to its weights; ``model`` itself if it has none.

    The sum is made in the type of the base's files, as every loader of the saved adapter makes it: where the base was
    loaded in another one it is read again, on the processor if it was quantized. Else it is made in place.
    """
    if not is_attached(model):
        return model
    from transformers import AutoConfig

    plain, folder = model.get_base_model(), Path(model.get_base_model().name_or_path)
    stored = AutoConfig.from_pretrained(folder, trust_remote_code=False, local_files_only=True).dtype
    quantized = bool(getattr(plain, "is_quantized", False))
    if not quantized and stored in (None, plain.dtype):
        return model.merge_and_unload()
    from peft import get_peft_model, set_peft_model_state_dict

    config = copy.deepcopy(plain.config)
    if quantized:
        del config.quantization_config
    whole = type(plain).from_pretrained(
        folder, config=config, dtype=stored, trust_remote_code=False, local_files_only=True
    )
    whole = get_peft_model(
        adapted.apply(whole if quantized else whole.to(plain.device), folder), model.peft_config["default"]
    )
    set_peft_model_state_dict(whole, state(model))
    return whole.merge_and_unload()


def finished(model: Any, parameters: AdapterParameters) -> Any:
    """The trained model as it is measured and then saved: merged, or an adapter that stays one.

    An adapter that stays one is added to a base in float32 or bfloat16 all the same, which answers faster so; on a base
    in 4 bits it stays beside it.
    """
    if parameters.output == "merged" or not is_attached(model):
        return merged(model)
    if not getattr(model.get_base_model(), "is_quantized", False):
        model.merge_adapter()
    return model


def state(model: Any, weights: dict[str, Any] | None = None) -> dict[str, Any]:
    """The adapter's tensors by their names in its file, on the processor.

    Args:
        weights: the whole state of ``model``, where each process has a part of it alone.
    """
    from peft import get_peft_model_state_dict

    tensors = get_peft_model_state_dict(model, weights, save_embedding_layers=False)
    return {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}


def restore(model: Any, folder: Path) -> None:
    """Give ``model``'s adapter the weights of the one in ``folder``."""
    from peft import get_peft_model_state_dict, set_peft_model_state_dict
    from safetensors.torch import load_file

    tensors = load_file(folder / adapted.WEIGHTS)
    if sharding.is_sharded(model):
        names = get_peft_model_state_dict(
            model, {name: name for name in model.state_dict()}, save_embedding_layers=False
        )
        sharding.give(model, {names[name]: tensor for name, tensor in tensors.items()})
    else:
        set_peft_model_state_dict(model, tensors)


def save_beside(model: Any, base: Path, folder: Path) -> None:
    """Write ``base``'s weight files into ``folder``, byte for byte, and the adapter of ``model`` below ``adapter/``."""
    for path in sorted(base.glob("*.safetensors*")):
        shutil.copyfile(path, folder / path.name)
    write(model, folder / adapted.FOLDER)
    adapted.name_base(folder)


def write(model: Any, folder: Path, weights: dict[str, Any] | None = None) -> None:
    """Write the adapter of ``model`` alone; ``weights`` as in :func:`state`.

    The files say nothing of where the base lies or of the version of PEFT, so equal adapters are equal bytes.
    """
    from safetensors.torch import save_file

    folder.mkdir(parents=True, exist_ok=True)
    save_file(state(model, weights), folder / adapted.WEIGHTS, metadata={"format": "pt"})
    config = model.peft_config["default"].to_dict()
    config |= {"base_model_name_or_path": None, "inference_mode": True, "revision": None}
    config.pop("peft_version", None)
    text = json.dumps(config, indent=2, sort_keys=True, default=_plain)
    (folder / adapted.CONFIG).write_text(text + "\n", encoding="utf-8")


def _is_linear(module: Any) -> bool:
    return type(module).__name__ in ("Linear", "Conv1D", "Linear4bit")


def _plain(value: Any) -> Any:
    return sorted(value) if isinstance(value, set | frozenset) else str(value)
