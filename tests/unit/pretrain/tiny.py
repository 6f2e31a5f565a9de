"""A tiny pretraining on real text, for tests, and the command that runs it in processes of its own."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path

import components
from components.contract import Context
from tests.stage import run_component
from tests.unit.pretrain.forked import Forked
from tests.unit.tokenize.stdlib_corpus import write_corpus

ROOT = Path(__file__).resolve().parents[3]
PARAMETERS = {
    "architecture": {
        "hidden_size": 32,
        "intermediate_size": 64,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        # Dropout draws from the random state: a return that forgot it would show.
        "extra": {"attention_dropout": 0.1},
    },
    "seq_length": 32,
    "per_device_batch_size": 6,
    "steps": 80,
    "devices": 1,
    "precision": "fp32",
    "log_every": 5,
    "checkpoint_every": 8,
    "evaluate_every": 20,
    "evaluation_tokens": 1024,
    "sample_tokens": 5,
    "sample_prompts": ["Return "],
}


def tokens(workspace: Path) -> Path:
    """Make corpus, tokenizer and token shards in ``workspace``."""
    write_corpus(workspace / "data/corpus", 500)
    # Several shards, the last one short.
    run_component(components.load("tokenize"), workspace, {"vocabulary_size": 384, "shard_tokens": 9_000})
    return workspace


def beside(workspace: Path, made: Path) -> Path:
    """A workspace of its own that shares ``made``'s tokens and tokenizer."""
    for part in ("data/tokens", "models/tokenizer"):
        (workspace / part).parent.mkdir(parents=True, exist_ok=True)
        (workspace / part).symlink_to(made / part)
    return workspace


def pretrain(workspace: Path, parent: Path | None = None, *, elastic: bool = False, **changes) -> Context:
    """Run the stage in this process, on from the model in the folder ``parent`` if one is given."""
    if parent is not None:
        (workspace / "models/parent").symlink_to(parent)
        changes["init"] = str(parent)
    return run_component(components.load("pretrain"), workspace, PARAMETERS | changes, elastic=elastic)


def start(workspace: Path, processes: int = 1, *, one_core: bool = False, **changes) -> Forked:
    """Start the stage in ``processes`` processes of their own; on ``one_core`` it computes with one thread."""
    cores = {min(os.sched_getaffinity(0))} if one_core else None
    devices = {"devices": processes, "per_device_batch_size": PARAMETERS["per_device_batch_size"] // processes}
    arguments = [str(workspace), json.dumps(PARAMETERS | devices | changes)]
    return Forked("tests.unit.pretrain.child", arguments, processes=processes, cores=cores)


def kill_amid(workspace: Path, process: Forked, step: int, steps: int = PARAMETERS["steps"]) -> None:
    """kill -9 once the started stage has reported ``step`` of its ``steps``; it must not be done yet."""
    wait_for_step(workspace, process, step)
    process.kill()
    process.communicate()
    names = [path.name for path in (workspace / "scratch").rglob("step-*") if path.suffix != ".partial"]
    assert names and max(names) < f"step-{steps:010d}", "too late to interrupt anything"


def wait_for_step(workspace: Path, process: Forked, step: int) -> None:
    """Until the started stage has reported ``step`` steps."""
    tokens = step * PARAMETERS["per_device_batch_size"] * PARAMETERS["seq_length"]
    until = time.monotonic() + 120
    while time.monotonic() < until and process.poll() is None:
        if any(event["done"] >= tokens for event in events(workspace, "progress")):
            return
        time.sleep(0.01)
    raise AssertionError(f"never came to step {step}: {process.communicate()[0] if process.poll() else 'slow'}")


def finish(process: Forked, timeout: float = 300) -> str:
    """Wait for the end of a started stage, which must be a good one; its output."""
    output, _ = process.communicate(timeout=timeout)
    assert process.returncode == 0, output
    return output


def events(workspace: Path, kind: str) -> list[dict]:
    """Events of one kind that the stage has reported so far; a torn last line is left out."""
    path = workspace / "pretrain.events.jsonl"
    lines = path.read_text().splitlines() if path.exists() else []
    return [event for line in lines if line.endswith("}") for event in [json.loads(line)] if event["kind"] == kind]


def weights(workspace: Path) -> bytes:
    """The finished weights."""
    return (workspace / "models/base/model.safetensors").read_bytes()
