"""``deploy/compose.yaml`` as Compose reads it: interpolated, its services with their images' commands."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).resolve().parents[1]
COMPOSE = ROOT / "deploy" / "compose.yaml"
_VARIABLE = re.compile(r"\$\{(?P<name>\w+)(?::(?P<kind>[-?])(?P<rest>[^}]*))?\}")


def load_compose(values: Mapping[str, str], path: Path = COMPOSE) -> dict[str, Any]:
    """The file with ``${NAME}``, ``${NAME:-default}`` and ``${NAME:?required}`` filled in."""

    def fill(match: re.Match[str]) -> str:
        name, kind, rest = match["name"], match["kind"], match["rest"]
        if values.get(name):
            return values[name]
        assert kind == "-", f"{name} is not set: {rest}"
        return rest

    body = yaml.safe_load(path.read_text())  # merge keys, as Compose reads them

    def walk(node: Any) -> Any:
        if isinstance(node, str):
            return _VARIABLE.sub(fill, node)
        if isinstance(node, list):
            return [walk(each) for each in node]
        if isinstance(node, dict):
            return {name: walk(each) for name, each in node.items()}
        return node

    return walk({name: each for name, each in body.items() if not name.startswith("x-")})


def command_of(service: Mapping[str, Any]) -> list[str]:
    """What a service runs: its own command, else its image's."""
    if "command" in service:
        return list(service["command"])
    text = (COMPOSE.parent / service["build"]["context"] / service["build"]["dockerfile"]).read_text()
    return json.loads(re.findall(r"^CMD (\[.*\])$", text, flags=re.MULTILINE)[-1])
