"""A real component for tests of the harness: it sums seeded random numbers, checkpointing as it goes.

It is installed into a temporary workspace beside the shipped components, so that the harness, DVC and MLflow treat it
as any other, while a test decides how long it takes and what goes wrong.
"""

from __future__ import annotations

from pathlib import Path

from tests.workspace import Workspace, add_component

INIT = """
from components.contract import ArtifactSpec, Component
from components.counter.parameters import CounterParameters

component = Component(
    name="counter",
    version="1.2.3",
    summary="Sums seeded random numbers",
    parameters=CounterParameters,
    inputs=(ArtifactSpec("numbers", "data/numbers", "dataset", "corpus"),),
    outputs=(
        ArtifactSpec("model", "models/total", "model", "base", "total"),
        ArtifactSpec("report", "reports/counter", "report", "report"),
    ),
    resumable=True,
    processes=lambda parameters: parameters.processes,
)
"""
PARAMETERS = """
from pydantic import Field
from components.contract import StageParameters


class CounterParameters(StageParameters):
    steps: int = Field(20, ge=1, le=100000, description="How many numbers to add.")
    pause: float = Field(0.0, ge=0, description="Seconds between two numbers.")
    fail: str = Field("", description="Which fault to make.")
    processes: int = Field(1, ge=1)
    awaits: str = Field("", description="File without which no step of the second half is made.")
"""
STAGE = """
import json
import os
import random
import time

from components.contract import Interrupted, Metric
from core.errors import InputProblem


def run(context):
    if context.parameters.fail == "problem":
        raise InputProblem(["data/numbers: first thing", "data/numbers: second thing"])
    if context.parameters.fail == "problem of a rank":
        if not context.is_main:
            raise InputProblem("data/numbers: cannot be read by this process")
        while not context.stopping:
            time.sleep(0.05)
        raise Interrupted
    checkpoint = context.scratch / "checkpoint.json"
    state = json.loads(checkpoint.read_text()) if checkpoint.exists() else {"step": 0, "total": 0.0}
    with context.progress("count", context.parameters.steps, "numbers") as advance:
        advance(state["step"])
        while state["step"] < context.parameters.steps:
            awaited = context.parameters.awaits if state["step"] * 2 >= context.parameters.steps else ""
            while awaited and not os.path.exists(awaited) and not context.stopping:
                time.sleep(0.05)
            state["total"] += random.Random(context.seed * 1_000_003 + state["step"]).random()
            state["step"] += 1
            context.log({"total": state["total"]}, state["step"])
            context.tokens = state["step"]
            context.environment["counted"] = "by ones"
            advance()
            partial = checkpoint.with_suffix(".partial")
            if context.is_main:
                partial.write_text(json.dumps(state))
                os.replace(partial, checkpoint)
            if context.stopping:
                raise Interrupted
            if context.parameters.fail == "die" and state["step"] % 5 == 0:
                os.kill(os.getpid(), 9)
            if context.parameters.fail == "hang" and state["step"] == 5:
                while True:
                    time.sleep(1)
            time.sleep(context.parameters.pause)
    if context.parameters.fail == "crash":
        raise RuntimeError("the sum does not please")
    if not context.is_main:
        return
    (context.outputs["model"] / "total.json").write_text(json.dumps(state["total"]))
    (context.outputs["report"] / "report.json").write_text(json.dumps({"steps": state["step"]}))
    context.attach(context.outputs["report"] / "report.json")
    context.record(
        Metric("total", state["total"], stderr=0.5, n=state["step"], eval_set="numbers", baselines={"zero": 0.0}),
        headline=True,
    )
"""
PIPELINE = """
stages:
  counter:
    cmd: exec python -m components counter
    deps: [data/numbers, components/counter]
    params: [seed, counter]
    outs: [models/total, reports/counter]
    metrics:
      - metrics/counter.json: {cache: false}
      - receipts/counter.json: {cache: false}
"""


def install_counter(workspace: Workspace) -> None:
    """Make the workspace's pipeline the one stage ``counter``."""
    add_component(workspace, "counter", INIT, PARAMETERS, STAGE)
    (workspace.root / "dvc.yaml").write_text(PIPELINE)
    (workspace.root / "data" / "numbers").mkdir()
    (workspace.root / "data" / "numbers" / "seen.txt").write_text("1 2 3\n")
    configure(workspace)
    workspace.commit("counter")


def configure(workspace: Workspace, **parameters: object) -> None:
    """Write ``params.yaml`` with the counter's parameters."""
    lines = "".join(f"  {name}: {value!r}\n" for name, value in parameters.items()) or "  {}\n"
    Path(workspace.root / "params.yaml").write_text(f"seed: 7\ncounter:\n{lines}")
