"""A model that is taken as it is (``steps: 0``): ``models/base`` is ``models/parent``, byte for byte."""

from __future__ import annotations

import json
import shutil
from typing import Any

from components.contract import Context, Metric
from components.pretrain.parent import read_pointer, unusable
from core import weights
from core.errors import InputProblem

GENERATES = ("ForCausalLM", "LMHeadModel")
"""How the names of architectures end that write text from left to right."""


def take(context: Context) -> dict[str, Any]:
    """Copy the parent's files, count its numbers, and return what the report shows.

    Raises:
        InputProblem: there is no parent, or its files are damaged.
    """
    source, target, init = context.inputs["parent"], context.outputs["model"], context.parameters.init
    if problem := unusable(source):
        raise InputProblem(f"pretrain.init: {init}: {problem}")
    files = sorted(file for file in source.rglob("*") if file.is_file())
    with context.progress("copy", sum(file.stat().st_size for file in files), unit="bytes") as advance:
        for file in files:
            place = target / file.relative_to(source)
            place.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(file, place)
            advance(file.stat().st_size)
    numbers, kinds = weights.count(target)
    config = json.loads((target / "config.json").read_text(encoding="utf-8"))
    pointer = read_pointer(source.parent.parent)
    context.record(Metric("parameters", numbers), headline=True)
    return {
        "unchanged": True,
        "source": pointer.source if pointer else init,
        "parameters": numbers,
        "dtypes": kinds,
        "architectures": config.get("architectures") or [],
        "model_type": config.get("model_type"),
        "files": {file.relative_to(source).as_posix(): file.stat().st_size for file in files},
    }


def generates(report: dict[str, Any]) -> bool:
    """Whether the model is a decoder, which has a loss on text."""
    return any(name.endswith(GENERATES) for name in report["architectures"])
