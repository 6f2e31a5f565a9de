"""``params.yaml`` as a whole: every mistake in it reported at once, and every parameter explained."""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

from pydantic import BaseModel
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

import components
from components.compute.parameters import NAME as COMPUTE
from components.compute.parameters import ComputeParameters
from components.harness.parameters import seed_of, validate
from core.errors import InputProblem
from core.parameters_file import read

_BOUNDS = {"ge": "≥", "gt": ">", "le": "≤", "lt": "<", "min_length": "length ≥", "max_length": "length ≤"}


@dataclass(frozen=True)
class Explained:
    """One parameter in words."""

    path: str
    type: str
    bounds: str
    default: Any
    help: str

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


def sections() -> dict[str, type[BaseModel]]:
    """The model of each section of ``params.yaml``: one a component, where they run, the registry's and the flows'."""
    from flows.deployments.notifications import NotificationParameters
    from flows.retraining.parameters import RetrainParameters
    from registry.lineage.cost import CostParameters
    from registry.promotion.parameters import PromotionParameters, SigningParameters

    models: dict[str, type[BaseModel]] = {name: components.load(name).parameters for name in components.STAGES}
    models[COMPUTE] = ComputeParameters
    models["promotion"], models["signing"] = PromotionParameters, SigningParameters
    return {**models, "cost": CostParameters, "retrain": RetrainParameters, "notifications": NotificationParameters}


def problems_in(values: Mapping[str, Any], overridden: Mapping[str, Any] | None = None) -> list[str]:
    """Every problem of the whole file, one line each, naming the parameter's path.

    Args:
        values: the file's content, overrides applied.
        overridden: the overrides by path, so that a mistake in one is reported as ``--set``.
    """
    models = sections()
    problems: list[str] = []
    for name in values:
        if name not in models and name != "seed":
            near = difflib.get_close_matches(str(name), [*models, "seed"], n=1)
            hint = f"did you mean {near[0]!r}?" if near else f"there are: seed, {', '.join(models)}"
            problems.append(f"params.yaml: {name}: unknown section; {hint}")
    for check in (lambda: seed_of(values), *(_checker(values, name, model) for name, model in models.items())):
        try:
            check()
        except InputProblem as problem:
            problems += problem.problems
    if not problems:
        problems += [f"params.yaml: {line}" for line in _between_sections(values)]
    return [attribute(line, overridden or {}) for line in problems]


def _between_sections(values: Mapping[str, Any]) -> list[str]:
    """What is wrong with sections that are right by themselves."""
    names = ("curate", "tokenize", "pretrain")
    curate, tokenize, pretrain = (_validated(values, name) for name in names)
    found = []
    if tokenize.tokenizer == "parent" and pretrain.init == "scratch":
        found.append("tokenize.tokenizer: is parent, but pretrain.init is scratch; name the model in pretrain.init")
    if pretrain.steps == 0 and tokenize.tokenizer != "parent":
        found.append("tokenize.tokenizer: pretrain.steps 0 takes a model with its own tokenizer; set this to parent")
    if tokenize.seq_length not in (None, pretrain.seq_length):
        found.append(
            f"tokenize.seq_length: is {tokenize.seq_length}, and pretrain.seq_length is {pretrain.seq_length}; "
            f"make them the same"
        )
    if not curate.sources and pretrain.steps != 0:
        found.append("pretrain.steps: curate.sources is empty, so there is no text to train on; set this to 0")
    if not curate.sources and tokenize.tokenizer is None:
        found.append("tokenize.tokenizer: curate.sources is empty, so none can be trained; set this to parent")
    return found


def _validated(values: Mapping[str, Any], stage: str) -> Any:
    return validate(values, stage, components.load(stage).parameters)


def load(root: Path) -> dict[str, Any]:
    """The workspace's ``params.yaml``, unvalidated.

    Raises:
        InputProblem: missing, or no YAML (duplicate keys included).
    """
    return read(root / "params.yaml")


def explain() -> list[Explained]:
    """Every parameter of every section, in the order of the stages."""
    lines = [Explained("seed", "int", "0 ≤ x ≤ 4294967295", 1337, "Seed of all randomness in the workspace")]
    for name, model in sections().items():
        lines += _explain_model(name, model)
    return lines


def _checker(values: Mapping[str, Any], name: str, model: type[BaseModel]):
    return lambda: validate(values, name, model)


def attribute(line: str, overridden: Mapping[str, Any]) -> str:
    """A problem's line, which names ``--set`` where an override is at fault."""
    path, _, rest = line.removeprefix("params.yaml: ").partition(": ")
    if any(path == given or path.startswith(f"{given}.") or given.startswith(f"{path}.") for given in overridden):
        return f"--set {path}: {rest}"
    return line


def _explain_model(prefix: str, model: type[BaseModel]) -> Iterator[Explained]:
    for name, field in model.model_fields.items():
        path = f"{prefix}.{field.alias or name}"
        yield Explained(path, _type_name(field.annotation), _bounds(field), _default(field), field.description or "")
        for inner, suffix in _models_in(field.annotation):
            yield from _explain_model(f"{path}{suffix}", inner)
    if model.model_config.get("extra") == "allow":  # names that the user chooses, such as those of models
        for inner, suffix in _models_in(get_type_hints(model)["__pydantic_extra__"]):
            yield from _explain_model(f"{prefix}{suffix}", inner)


def _models_in(annotation: Any) -> Iterator[tuple[type[BaseModel], str]]:
    """The parameter models inside a type, with what comes between: ``[]`` in a list, ``.<name>`` in a mapping."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation, ""
    origin = get_origin(annotation)
    suffix = "[]" if origin in (list, tuple) else ".<name>" if origin is dict else ""
    for argument in get_args(annotation):
        for inner, rest in _models_in(argument):
            yield inner, suffix + rest


def _type_name(annotation: Any) -> str:
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is Literal:
        return " | ".join(str(value) for value in arguments)
    if origin in (Union, UnionType):
        return " | ".join(_type_name(each) for each in arguments)
    if annotation is NoneType:
        return "null"
    if origin is not None and hasattr(origin, "__name__"):
        if origin not in (list, tuple, dict, set):  # Annotated and friends: the type itself is the first argument
            return _type_name(arguments[0])
        return f"{origin.__name__} of {', '.join(_type_name(each) for each in arguments if each is not Ellipsis)}"
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return "section"
    return getattr(annotation, "__name__", str(annotation))


def _bounds(field: FieldInfo) -> str:
    found = []
    for constraint in field.metadata:
        for name, sign in _BOUNDS.items():
            if (value := getattr(constraint, name, None)) is not None:
                found.append(f"{sign} {value:g}" if isinstance(value, float) else f"{sign} {value}")
    return ", ".join(found)


def _default(field: FieldInfo) -> Any:
    value = field.default_factory() if field.default_factory else field.default  # type: ignore[call-arg]
    if value is PydanticUndefined:
        return "(required)"
    if isinstance(value, BaseModel):
        return "(section)"
    if isinstance(value, list | tuple) and any(isinstance(each, BaseModel) for each in value):
        return [each.model_dump(mode="json") if isinstance(each, BaseModel) else each for each in value]
    return list(value) if isinstance(value, tuple) else value
