"""Reads a stage's section of ``params.yaml`` and reports every mistake in it at once."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from core import object_stores
from core.errors import InputProblem
from core.parameters_file import flatten

DEFAULT_SEED = 1337

_BATCH = (
    "per_device_batch_size, the sequences of one device: a step's batch is per_device_batch_size x "
    "gradient_accumulation_steps x devices x nodes"
)
#: Parameters that once had other names, by their former path: what they are called now.
RENAMED: dict[str, str] = {
    "pretrain.context": "pretrain.seq_length",
    "pretrain.batch_size": _BATCH,
    "pretrain.micro_batch_size": "pretrain.per_device_batch_size",
    "pretrain.warmup": "pretrain.warmup_ratio",
    "pretrain.final_share": "pretrain.min_lr_ratio",
    "pretrain.decay": "pretrain.decay_ratio",
    "pretrain.clip": "pretrain.max_grad_norm",
    "curate.labels.min_characters": "curate.labels.topics.min_characters",
    "classify_finetune.max_tokens": "classify_finetune.seq_length",
    "instruct_finetune.processes": "instruct_finetune.devices",
}
for _name in ("questions", "questions_per_function", "functions_per_list", "common_list", "largest_answer_share",
              "chatty_share", "renderings", "max_prompt_characters", "max_answer_characters"):  # fmt: skip
    RENAMED[f"curate.instructions.{_name}"] = f"curate.instructions.signatures.{_name}"
for _stage in ("classify_finetune", "instruct_finetune", "reward_model", "preference_tune"):
    for _name in ("steps", "optimizer", "muon_learning_rate", "learning_rate", "schedule", "weight_decay",
                  "checkpoint_every", "log_every"):  # fmt: skip
        RENAMED[f"{_stage}.training.{_name}"] = f"{_stage}.{_name}"
    RENAMED[f"{_stage}.training.batch_size"] = _BATCH
    RENAMED[f"{_stage}.training.gradient_accumulation"] = f"{_stage}.gradient_accumulation_steps"
    RENAMED[f"{_stage}.training.warmup"] = f"{_stage}.warmup_ratio"
    RENAMED[f"{_stage}.training.clip"] = f"{_stage}.max_grad_norm"
    RENAMED[f"{_stage}.training.precision"] = f"{_stage}.precision, and takes auto, fp32 or bf16"


Model = TypeVar("Model", bound=BaseModel)


def validate(values: Mapping[str, Any], section: str, model: type[Model]) -> Model:
    """The validated ``section``; a missing section means the defaults.

    Raises:
        InputProblem: every problem in the section, each with its path in ``params.yaml``.
    """
    try:
        given = values.get(section)
        return model.model_validate({} if given is None else given)
    except ValidationError as error:
        raise InputProblem(explain(error, section, model)) from None


def seed_of(values: Mapping[str, Any]) -> int:
    """The workspace's seed, from 0 to 2**32 - 1.

    Raises:
        InputProblem: it is something else.
    """
    seed = values.get("seed", DEFAULT_SEED)
    if isinstance(seed, bool) or not isinstance(seed, int) or not 0 <= seed < 2**32:
        raise InputProblem(f"params.yaml: seed: must be a whole number from 0 to 4294967295, not {seed!r}")
    return seed


def explain(error: ValidationError, section: str, model: type[BaseModel]) -> list[str]:
    """A pydantic error as one line a problem: path, what is wrong, what was given, what is near it."""
    lines = []
    for problem in error.errors():
        path = ".".join([section, *(str(part) for part in problem["loc"])]).strip(".")
        message = problem["msg"].removeprefix("Value error, ")
        if problem["type"] == "extra_forbidden":
            lines += _unknown(path, problem["input"], model)
            continue
        if problem["type"] != "missing" and not isinstance(problem["input"], Mapping | list | BaseModel):
            message += f" (it is {problem['input']!r})"
        lines.append(f"params.yaml: {path}: {message}")
    return lines


def _unknown(path: str, value: Any, model: type[BaseModel]) -> list[str]:
    """The problems of a parameter that the model does not have."""
    if isinstance(value, Mapping) and (inside := [f"{path}.{key}" for key in value if f"{path}.{key}" in RENAMED]):
        return [f"params.yaml: {each}: unknown parameter; it is now called {RENAMED[each]}" for each in inside]
    if path in RENAMED:
        return [f"params.yaml: {path}: unknown parameter; it is now called {RENAMED[path]}"]
    near = difflib.get_close_matches(path.rpartition(".")[2], _names(model), n=1)
    return [f"params.yaml: {path}: unknown parameter" + (f"; did you mean {near[0]!r}?" if near else "")]


def problems_of_checkpoints(name: str, parameters: BaseModel) -> list[str]:
    """Why the stage's checkpoints cannot be kept where its parameters say, found by writing there."""
    url = getattr(parameters, "checkpoints", None)
    wrong = object_stores.refused(url) if url is not None else None
    return [] if wrong is None else [f"params.yaml: {name}.checkpoints: {wrong}"]


def non_default(parameters: BaseModel) -> dict[str, Any]:
    """The values that differ from their defaults, by dotted path."""
    try:
        defaults = flatten(type(parameters)().model_dump(mode="json"))
    except ValidationError:
        defaults = {}
    values = flatten(parameters.model_dump(mode="json"))
    return {path: value for path, value in values.items() if path not in defaults or defaults[path] != value}


def _names(model: type[BaseModel]) -> list[str]:
    names = list(model.model_fields)
    for field in model.model_fields.values():
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            names += _names(field.annotation)
    return names
