"""A small workspace for the curate stage: own texts, own instructions, no labels, so that a run takes a second."""

from __future__ import annotations

import json
from pathlib import Path

from components.contract import Context
from components.curate import component
from tests.stage import run_component

TOPICS = ("river", "engine", "violin", "harvest", "glacier", "printer", "orchard", "compass", "lantern", "weaver")


def sentence(number: int) -> str:
    """A text unlike that of any other number."""
    words = [f"{TOPICS[(number * 7 + step * step) % 10]}{(number * 31 + step) % 997}" for step in range(12)]
    return f"The {' and the '.join(words)} are described in chapter {number}."


def write_instructions(workspace: Path) -> dict:
    """Write instruction rows under the workspace; return the parameters that name them."""
    path = workspace / "data/raw/instructions.jsonl"
    path.parent.mkdir(parents=True, exist_ok=True)
    rows = [{"prompt": f"Which chapter has number {n}?", "completion": f"chapter {n}"} for n in range(300)]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return {"source": "files", "files": {"instruct": ["data/raw/instructions.jsonl"]}}


def curate(workspace: Path, sources: list[dict], monkeypatch, **parameters) -> Context:
    """Run the stage over ``sources`` with instructions of its own and without labels."""
    instructions = write_instructions(workspace)
    monkeypatch.chdir(workspace)
    return run_component(
        component,
        workspace,
        {"sources": sources, "instructions": instructions, "labels": {"source": "none"}, **parameters},
    )
