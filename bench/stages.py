"""Runs a component of the lifecycle in this process, without the harness around it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import components
from components.contract import Context


def run_stage(
    name: str,
    workspace: Path,
    parameters: dict[str, Any],
    *,
    inputs: Path | None = None,
    seed: int = 1337,
    context_type: type[Context] = Context,
) -> Context:
    """Run the stage with its declared paths under ``workspace``, its inputs under ``inputs`` where they are elsewhere.

    Returns the context it was given.
    """
    component = components.load(name)
    outputs = {artifact.name: workspace / artifact.path for artifact in component.outputs}
    scratch = workspace / "scratch" / name
    for folder in (*outputs.values(), scratch):
        folder.mkdir(parents=True, exist_ok=True)
    context = context_type(
        parameters=component.parameters(**parameters),
        seed=seed,
        inputs={
            artifact.name: path
            for artifact in component.inputs
            if (path := (inputs or workspace) / artifact.path).exists() or not artifact.optional
        },
        outputs=outputs,
        scratch=scratch,
        events=workspace / f"{name}.events.jsonl",
    )
    component.run(context)
    return context
