"""The stages of the lifecycle, one folder each, and the contract and harness that run them."""

from __future__ import annotations

import importlib

from components.contract import Component

STAGES = (
    "curate",
    "tokenize",
    "pretrain",
    "evaluate",
    "classify_finetune",
    "instruct_finetune",
    "reward_model",
    "preference_tune",
)


def load(name: str) -> Component:
    """The component called ``name``; a ``KeyError`` lists the known ones."""
    if name not in STAGES:
        raise KeyError(f"no component called {name!r}; there are: {', '.join(STAGES)}")
    component: Component = importlib.import_module(f"components.{name}").component
    return component


def stages() -> list[str]:
    """Names of all stages as ``dvc.yaml`` has them: ``evaluate@base`` for an instance."""
    return [
        f"{name}@{instance}" if instance else name for name in STAGES for instance in load(name).instances or (None,)
    ]
