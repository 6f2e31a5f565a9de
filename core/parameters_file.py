"""Reading and writing ``params.yaml``: as plain values, with overrides, comments and order kept."""

from __future__ import annotations

import copy
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError
from ruamel.yaml.representer import RoundTripRepresenter
from ruamel.yaml.scalarstring import DoubleQuotedScalarString

from core import bounded, files
from core.errors import InputProblem

_PLAIN = re.compile(r"[A-Za-z_][\w./-]*")
_INDENTED_LIST = re.compile(r"^( *)[^\s#-][^\n]*:\s*(?:#[^\n]*)?\n\1 +- ", re.MULTILINE)


def read(path: Path) -> dict[str, Any]:
    """A file of parameters (``params.yaml``) as plain dictionaries.

    Raises:
        InputProblem: missing, not YAML (duplicate keys included), nested too deep, or not a mapping.
    """
    try:
        values = bounded.yaml(path.read_bytes())
    except FileNotFoundError:
        raise InputProblem(
            f"{path.name}: missing from {path.parent}; restore it with `git checkout {path.name}`"
        ) from None
    except (YAMLError, UnicodeDecodeError) as error:
        raise InputProblem(f"{path.name}: not readable as YAML: {' '.join(str(error).split())}") from None
    if not isinstance(values, dict):
        raise InputProblem(f"{path.name}: must be a mapping of sections, such as `pretrain:`")
    return values


def flatten(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested mappings as one, with dotted keys; lists stay whole."""
    flat: dict[str, Any] = {}
    for name, value in values.items():
        path = f"{prefix}{name}"
        if isinstance(value, Mapping) and value:
            flat.update(flatten(value, f"{path}."))
        else:
            flat[path] = value
    return flat


def parse(assignments: Iterable[str]) -> tuple[dict[str, Any], list[str]]:
    """(overrides by path, problems) of ``path=value`` texts; values are YAML (``200``, ``true``, ``[a, b]``, text)."""
    overrides: dict[str, Any] = {}
    problems: list[str] = []
    for text in assignments:
        path, sign, value = text.partition("=")
        if not sign or not path.strip() or any(not part for part in path.strip().split(".")):
            problems.append(f"--set {text}: write it as PATH=VALUE, such as --set pretrain.steps=200")
            continue
        try:
            overrides[path.strip()] = bounded.yaml(value) if value.strip() else None
        except YAMLError as error:
            problems.append(f"--set {text}: the value is not readable as YAML: {' '.join(str(error).split())}")
    return overrides, problems


def apply(values: Mapping[str, Any], overrides: Mapping[str, Any]) -> dict[str, Any]:
    """A copy of ``values`` with the overrides in it; whether they make sense is for validation to say.

    Raises:
        InputProblem: a path goes through something that is no mapping and no list entry.
    """
    result = copy.deepcopy(dict(values))
    _assign(result, overrides)
    return result


def write(path: Path, overrides: Mapping[str, Any]) -> None:
    """Write the overrides into a YAML file, whole or not at all; comments and order stay as they were."""
    yaml = YAML()
    yaml.Representer = _Representer
    yaml.preserve_quotes = True
    yaml.width = 4096
    text = path.read_text(encoding="utf-8")
    if _INDENTED_LIST.search(text):
        yaml.indent(mapping=2, sequence=4, offset=2)
    document = yaml.load(text)
    _assign(document, {name: _quoted(value) for name, value in overrides.items()})
    with files.replacing(path, "w") as file:
        yaml.dump(document, file)


def _quoted(value: Any) -> Any:
    """Texts that are no plain words in quotes: YAML's readers disagree on what else may stand without them."""
    if isinstance(value, Mapping):
        return {_quoted(name): _quoted(each) for name, each in value.items()}
    if isinstance(value, list):
        return [_quoted(each) for each in value]
    return DoubleQuotedScalarString(value) if isinstance(value, str) and not _PLAIN.fullmatch(value) else value


class _Representer(RoundTripRepresenter):
    """Writes ``null`` as the file does, where ruamel would leave the value empty."""


_Representer.add_representer(
    type(None), lambda representer, _: representer.represent_scalar("tag:yaml.org,2002:null", "null")
)


def _assign(document: Any, overrides: Mapping[str, Any]) -> None:
    problems = []
    for path, value in overrides.items():
        *parents, last = path.split(".")
        node = document
        try:
            for part in parents:
                if isinstance(node, list):
                    node = node[int(part)]
                    continue
                if node.get(part) is None:
                    node[part] = {}
                node = node[part]
            node[int(last) if isinstance(node, list) else last] = value
        except (ValueError, IndexError):
            problems.append(f"--set {path}: there is no such entry in the list; entries are counted from 0")
        except (AttributeError, TypeError):
            problems.append(f"--set {path}: goes through a value that has no parts")
    if problems:
        raise InputProblem(problems)
