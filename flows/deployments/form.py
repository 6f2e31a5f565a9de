"""``params.yaml`` as a form: the JSON schema that Prefect's UI draws it from, and what a filled-in form changes.

The fields, bounds, choices and help texts are those of the parameter models; the values to begin with are those of the
workspace's file.
"""

from __future__ import annotations

import copy
import functools
import hashlib
import json
import re
import types
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Union, get_args, get_origin

from pydantic import BaseModel, ConfigDict, Field, ValidationError, create_model
from pydantic.json_schema import GenerateJsonSchema

import components
from components.harness.parameters import DEFAULT_SEED
from core import files, layout
from core.errors import InputProblem
from core.parameters_file import flatten
from flows.pipeline import graph, parameters, recipes

_NAME = re.compile(r"[0-9a-f]{16}")
#: What decides over promotions is the workspace's own file: a run cannot grant itself approval.
_NOT_OFFERED = {"promotion": ("approval",)}

#: What people change first, by path; the form offers it before everything else.
COMMON = (
    "seed",
    "pretrain.init",
    "pretrain.architecture.preset",
    "pretrain.steps",
    "pretrain.seq_length",
    "pretrain.per_device_batch_size",
    "pretrain.learning_rate",
    "pretrain.devices",
    "instruct_finetune.steps",
    "preference_tune.beta",
)


class _WholeFile:  # read when a flow is defined: Prefect draws its parameters then
    """Draws a flow's parameter as the form of the workspace that the current folder is."""

    @staticmethod
    def __get_pydantic_json_schema__(_: Any, __: Any) -> dict[str, Any]:
        return schema(Path.cwd())


class _Common:
    """Draws a flow's parameter as the few fields of :data:`COMMON`, by their paths."""

    @staticmethod
    def __get_pydantic_json_schema__(_: Any, __: Any) -> dict[str, Any]:
        whole = schema(Path.cwd())
        fields = {path: {**_node_at(whole, path), "title": path} for path in COMMON}
        return {"type": "object", "properties": fields, "additionalProperties": False}


class _StageName:
    """Offers the stages of the workspace that the current folder is."""

    @staticmethod
    def __get_pydantic_json_schema__(_: Any, handler: Any) -> dict[str, Any]:
        names = graph.names(Path.cwd())
        text = {"type": "string", "enum": names} if names else {"type": "string"}
        return {"anyOf": [text, {"type": "null"}]}


class _StageNames:
    """Offers the stages of the workspace that the current folder is, any number of them."""

    @staticmethod
    def __get_pydantic_json_schema__(_: Any, __: Any) -> dict[str, Any]:
        names = graph.names(Path.cwd())
        text = {"type": "string", "enum": names} if names else {"type": "string"}
        return {"anyOf": [{"type": "array", "items": text, "uniqueItems": True}, {"type": "null"}]}


class _RecipeName:
    """Offers the recipes of the workspace that the current folder is."""

    @staticmethod
    def __get_pydantic_json_schema__(_: Any, __: Any) -> dict[str, Any]:
        names = [recipe.name for recipe in recipes.recipes(Path.cwd())]
        text = {"type": "string", "enum": names} if names else {"type": "string"}
        return {"anyOf": [text, {"type": "null"}]}


class _ModelName:
    """Offers the registered models that the stages make."""

    @staticmethod
    def __get_pydantic_json_schema__(_: Any, __: Any) -> dict[str, Any]:
        made = (output for name in components.STAGES for output in components.load(name).outputs)
        return {"type": "string", "enum": [output.registered_model for output in made if output.registered_model]}


#: Annotations of a flow's parameters.
Parameters = Annotated[dict[str, Any] | None, _WholeFile]
Common = Annotated[dict[str, Any] | None, _Common]
RecipeName = Annotated[str | None, _RecipeName]
StageName = Annotated[str | None, _StageName]
StageNames = Annotated[list[str] | None, _StageNames]
ModelName = Annotated[str, _ModelName]


def values(root: Path) -> dict[str, Any]:
    """Every parameter of the workspace as JSON has it; a section that has mistakes is shown by its defaults."""
    try:
        given = parameters.load(root)
    except InputProblem:
        given = {}
    found: dict[str, Any] = {"seed": given.get("seed", DEFAULT_SEED)}
    for name, model in parameters.sections().items():
        try:
            section = model.model_validate(given.get(name) or {})
        except ValidationError:
            section = model()
        hidden = set(_NOT_OFFERED.get(name, ()))
        found[name] = {key: value for key, value in section.model_dump(mode="json").items() if key not in hidden}
    return found


def drawn(home: Path, shown: Mapping[str, Any]) -> str:
    """A name for the values that a form begins with; they are kept under it, for :func:`changes`."""
    content = json.dumps(shown, sort_keys=True).encode()
    name = hashlib.sha256(content).hexdigest()[:16]
    path = layout.forms(home) / f"{name}.json"
    if not path.exists():
        files.write_bytes(path, content)
    return name


def began_with(home: Path, name: str | None) -> dict[str, Any] | None:
    """The values that the form of that name began with; ``None`` where they are not known here."""
    path = layout.forms(home) / f"{name}.json"
    return json.loads(path.read_bytes()) if name and _NAME.fullmatch(name) and path.is_file() else None


def schema(root: Path) -> dict[str, Any]:
    """The JSON schema of the whole file. It refers to nothing outside itself, and stays with what Prefect's UI draws.

    That is: choices between types by ``anyOf`` rather than ``oneOf``, and fixed values as lists of one choice.
    """
    whole = copy.deepcopy(_empty())
    _prefill(whole, values(root))
    return whole


@functools.cache  # Prefect asks several times for each flow, whenever a process defines one
def _empty() -> dict[str, Any]:
    """The schema, before a workspace's values are the defaults."""
    sections = parameters.sections()
    fields: dict[str, Any] = {name: (model, Field(description=_summary(model))) for name, model in sections.items()}
    seed = (int, Field(ge=0, le=2**32 - 1, description="Seed of all randomness in the workspace"))
    form = create_model("Parameters", __config__=ConfigDict(extra="forbid"), seed=seed, **fields)
    drawn = form.model_json_schema(schema_generator=GenerateJsonSchema)
    whole = _inlined(drawn, drawn.pop("$defs", {}))
    whole.pop("required", None)  # what is left out stays as it is
    for name, hidden in _NOT_OFFERED.items():
        for key in hidden:
            whole["properties"].get(name, {}).get("properties", {}).pop(key, None)
            if not whole["properties"].get(name, {}).get("properties", True):
                del whole["properties"][name]["properties"]
    return whole


def common(shown: Mapping[str, Any]) -> dict[str, Any]:
    """Of the values that a form shows, those of :data:`COMMON`, by path."""
    values = flatten(shown)
    return {path: values.get(path) for path in COMMON}


def all_changes(few: Mapping[str, Any], given: Mapping[str, Any], registered: Mapping[str, Any]) -> dict[str, Any]:
    """:func:`changes`, with those of the fields of :data:`COMMON`.

    Raises:
        InputProblem: a parameter was changed at both places, to different values.
    """
    found = changes(given, registered)
    before = flatten(registered)
    first = {path: value for path, value in few.items() if not _same(value, before.get(path))}
    problems = [
        f"{path}: {first[path]!r} under common and {found[path]!r} under parameters; change it in one place"
        for path in first
        if path in found and not _same(first[path], found[path])
    ]
    if problems:
        raise InputProblem(problems)
    return {**found, **first}


def changes(given: Mapping[str, Any], registered: Mapping[str, Any]) -> dict[str, Any]:
    """Overrides by path: what the form says otherwise than the values it began with.

    What was left as it was is no override, so that a ``params.yaml`` that was edited since is not reverted. What is
    left out is as it was, too.
    """
    found: dict[str, Any] = {}
    models = parameters.sections()
    for name, value in given.items():
        before = registered.get(name)
        if name in models and isinstance(value, Mapping):
            known = before if isinstance(before, Mapping) else {}
            found.update(_changes(name, models[name], value, known))
        elif not _same(value, before):
            found[name] = value
    return found


def nested(overrides: Mapping[str, Any]) -> dict[str, Any]:
    """Overrides by path as the form has them; entries of lists by their number."""
    found: dict[str, Any] = {}
    for path, value in overrides.items():
        *parents, last = path.split(".")
        node = found
        for part in parents:
            node = node.setdefault(part, {}) if isinstance(node.get(part, {}), dict) else {}
        node[last] = value
    return found


def _changes(path: str, model: type[BaseModel], given: Mapping[str, Any], known: Mapping[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, value in given.items():
        if name in known and _same(value, known[name]):
            continue
        field = model.model_fields.get(name)
        inner = _model_of(field.annotation) if field is not None else None
        before = known.get(name)
        if inner is not None and isinstance(value, Mapping) and (isinstance(before, Mapping) or name not in known):
            found.update(_changes(f"{path}.{name}", inner, value, before or {}))
        else:
            found[f"{path}.{name}"] = _keyed(field.annotation if field is not None else None, value)
    return found


def _node_at(whole: Mapping[str, Any], path: str) -> Any:
    """The schema of a parameter; a choice between types is searched."""
    node: Any = whole
    for part in path.split("."):
        kinds = [node, *node.get("anyOf", [])]
        node = next(kind["properties"][part] for kind in kinds if part in kind.get("properties", {}))
    return node


def _same(one: Any, other: Any) -> bool:
    """Equal, where 1 and 1.0 are the same number and ``true`` is none."""
    return one == other and isinstance(one, bool) == isinstance(other, bool)


def _model_of(annotation: Any) -> type[BaseModel] | None:
    """The one model that a section's field holds; a list or a choice of models is a value as a whole."""
    if get_origin(annotation) in (Union, types.UnionType):
        kinds = [kind for kind in get_args(annotation) if kind is not types.NoneType]
        return _model_of(kinds[0]) if len(kinds) == 1 else None
    return annotation if isinstance(annotation, type) and issubclass(annotation, BaseModel) else None


def _keyed(annotation: Any, value: Any) -> Any:
    """JSON knows texts only as keys; ``params.yaml`` has numbers where the model has them."""
    if get_origin(annotation) is dict and get_args(annotation)[0] is int and isinstance(value, Mapping):
        return {int(key) if str(key).isdigit() else key: each for key, each in value.items()}
    return value


def _summary(model: type[BaseModel]) -> str:
    return (model.__doc__ or "").strip().split("\n\n")[0]


def _inlined(node: Any, definitions: Mapping[str, Any]) -> Any:
    if isinstance(node, list):
        return [_inlined(each, definitions) for each in node]
    if not isinstance(node, dict):
        return node
    node = dict(node)
    if "$ref" in node:
        node = {**definitions[node.pop("$ref").rpartition("/")[2]], **node}
    node.pop("discriminator", None)
    if "oneOf" in node:
        node["anyOf"] = node.pop("oneOf")
    if "const" in node:
        node["enum"] = [node.pop("const")]
    drawn = {
        name: _inlined(value, definitions) for name, value in node.items() if name not in ("properties", "default")
    }
    if "default" in node:
        drawn["default"] = node["default"]
    if "properties" in node:
        inner = {name: _inlined(value, definitions) for name, value in node["properties"].items()}
        drawn["properties"] = {name: {**each, "title": name} for name, each in inner.items()}
        if kind := inner.get("type", {}).get("enum"):  # one of several models, distinguished by this field
            drawn["title"] = kind[0]
    return drawn


def _prefill(node: dict[str, Any], value: Any) -> None:
    """Make the workspace's values the defaults that the form shows."""
    node["default"] = value
    if isinstance(value, Mapping):
        for name, inner in node.get("properties", {}).items():
            if name in value:
                _prefill(inner, value[name])
