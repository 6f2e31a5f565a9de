"""A node's part where files travel by object storage, without a cluster around it: asked to end, it loses no step."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from pathlib import Path

import pytest

import components
from components.compute import travel
from components.compute.remote_files import RemoteFiles
from components.harness import launch, offsite, outcomes
from components.harness.remote_checkpoints import RemoteCheckpoints
from core import python
from tests.unit.pretrain import tiny
from tests.workspace import wait_until

ROOT = Path(components.__file__).parents[1]


def start(order: dict, folder: Path, part: str) -> subprocess.Popen:
    """Start a part of the work of an order in a node's folder."""
    (folder / "tracking").mkdir(parents=True, exist_ok=True)
    lock = os.open(os.devnull, os.O_RDONLY)  # the node's actor holds its folder by one
    tracking = {"outcome": str(folder / "tracking/outcome.json"), "events": str(folder / "tracking/events.jsonl")}
    own = {"supervisor": os.getpid(), "host": "192.0.2.7", "lock": lock, **tracking}
    path = folder / "order.json"
    path.write_text(json.dumps({**order, **own, "compute": None}))
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", launch.NODE_RANK: "0"}
    command = python.command("components.compute.apart", part, str(path))
    process = subprocess.Popen(command, cwd=folder, env=environment, pass_fds=(lock,))
    os.close(lock)
    return process


def outcome(folder: Path) -> dict:
    return json.loads((folder / "tracking/outcome.json").read_text())


@pytest.mark.nightly  # two processes that import torch; what they do is done by nodes in test_training_on_ray too
def test_asked_to_end_it_brings_its_last_checkpoint_and_another_node_goes_on(tmp_path):
    made, store = tiny.tokens(tmp_path / "made"), f"file://{tmp_path / 'store'}"
    remote = RemoteCheckpoints(store, "pretrain/0", b"s" * 32)
    parameters = components.load("pretrain").parameters(**tiny.PARAMETERS, seed=1).model_dump(mode="json")
    (tmp_path / "scratch/tracking").mkdir(parents=True)
    order = travel.sent(
        {
            "component": "pretrain", "instance": None, "seed": 1, "parameters": parameters, "nodes": 1, "processes": 1,
            "compute": {"storage": store}, "checkpoints": offsite.described(remote, 2),
            "inputs": {"tokens": str(made / "data/tokens"), "tokenizer": str(made / "models/tokenizer")},
            "outputs": {"model": "/nowhere/model", "report": "/nowhere/report"}, "scratch": str(tmp_path / "scratch"),
        },
        lambda: False,
    )  # fmt: skip
    first, second = tmp_path / "first/work", tmp_path / "second/work"
    assert start(order, first, "fetch").wait(60) == 0
    node = start(order, first, "work")
    log = first / "tracking/events.jsonl"
    wait_until(lambda: log.exists() and '"step": 5,' in log.read_text(), 120, "some steps")
    node.send_signal(signal.SIGTERM)
    assert node.wait(60) == outcomes.EXIT_CODES[outcomes.INTERRUPTED]
    assert outcome(first)["state"] == outcomes.INTERRUPTED
    saved = remote.newest(pytest.fail)[0].folder
    assert int(saved.removeprefix("step-")) >= 5
    assert not list(first.glob("inputs")) and not list(first.glob("checkpoints")), "nothing is left on its disk"

    assert start(order, second, "fetch").wait(60) == 0
    assert start(order, second, "work").wait(240) == 0
    made_there = outcome(second)["made"]
    RemoteFiles(store).fetch(made_there["model"], tmp_path / "models/base", lambda: False)
    undisturbed = tiny.beside(tmp_path / "alone", made)
    tiny.finish(tiny.start(undisturbed, seed=1, one_core=True))
    assert tiny.weights(tmp_path) == tiny.weights(undisturbed)
