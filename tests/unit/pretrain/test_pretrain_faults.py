"""Whatever happens to the process or its checkpoints, a rerun ends with the same bits."""

from __future__ import annotations

import errno
import json
import resource
import shutil
import signal
import threading
import time

import pytest
import torch
from transformers import AutoModelForCausalLM

from components.pretrain import checkpoint, training_state
from tests.unit.pretrain import tiny


def same_as(finished, workspace) -> None:
    for part in ("models/base", "reports/pretrain"):
        for path in sorted((finished / part).iterdir()):
            assert (workspace / part / path.name).read_bytes() == path.read_bytes(), path.name


@pytest.mark.slow
def test_killed_twice_and_run_again_ends_with_the_same_bytes(finished, workspace):
    for step in (12, 35):
        tiny.kill_amid(workspace, tiny.start(workspace), step)
    tiny.finish(tiny.start(workspace))
    same_as(finished, workspace)


@pytest.mark.slow
def test_sigterm_saves_a_checkpoint_and_the_rerun_is_exact(finished, workspace):
    process = tiny.start(workspace, checkpoint_every=1000, evaluate_every=1000)
    tiny.wait_for_step(workspace, process, 2)
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=60)
    assert process.returncode == 3
    saved = list((workspace / "scratch/pretrain/checkpoints").glob("step-*"))
    assert len(saved) == 1
    tiny.finish(tiny.start(workspace))
    assert tiny.weights(workspace) == tiny.weights(finished)


def damage_state(path):
    with open(path / "model.safetensors", "r+b") as file:
        file.seek(1000)
        byte = file.read(1)[0]
        file.seek(1000)
        file.write(bytes([byte ^ 1]))


@pytest.mark.slow
def test_without_any_whole_checkpoint_the_training_begins_again(finished, workspace):
    shutil.copytree(finished / "scratch", workspace / "scratch")
    saved = list((workspace / "scratch/pretrain/checkpoints").iterdir())
    for path in saved:
        damage_state(path)
    tiny.finish(tiny.start(workspace))
    assert tiny.weights(workspace) == tiny.weights(finished)
    assert len(tiny.events(workspace, "warning")) == len(saved)


@pytest.mark.slow
def test_a_full_disk_costs_a_checkpoint_not_the_training(workspace, finished, monkeypatch):
    real = checkpoint.publish

    def full(folder, step, write):
        before = resource.getrlimit(resource.RLIMIT_FSIZE)
        # The system refuses to write on, as it does on a full disk, and safetensors tells of both alike.
        resource.setrlimit(resource.RLIMIT_FSIZE, (16_384 if step == 8 else before[0], before[1]))
        try:
            return real(folder, step, write)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, before)

    monkeypatch.setattr(checkpoint, "publish", full)
    context = tiny.pretrain(workspace)
    assert any("no disk space for the checkpoint of step 8" in warning for warning in context.warnings)
    assert tiny.weights(workspace) == tiny.weights(finished)


def test_another_failure_of_the_writer_stops_the_training(workspace, monkeypatch):
    def broken(folder, step, write):
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(checkpoint, "publish", broken)
    with pytest.raises(OSError, match="Input/output error"):
        tiny.pretrain(workspace)
    assert max(event["step"] for event in tiny.events(workspace, "point")) < 80


def test_the_best_and_the_newest_checkpoints_are_kept_and_transformers_reads_them(finished):
    saved = sorted((finished / "scratch/pretrain/checkpoints").iterdir())
    assert len(saved) in (2, 3) and saved[-1].name == "step-0000000080"
    model = AutoModelForCausalLM.from_pretrained(saved[-1])
    made = AutoModelForCausalLM.from_pretrained(finished / "models/base")
    for name, tensor in made.state_dict().items():
        assert torch.equal(model.state_dict()[name], tensor), name
    training = json.loads((saved[-1] / "training.json").read_text())
    assert training["progress"]["step"] == 80 and training["progress"]["processes"] == [[0, 1]]


def test_a_slow_disk_is_waited_for_and_told(workspace, monkeypatch):
    publish, wait = checkpoint.publish, training_state.TrainingState.wait
    waiting = threading.Event()

    def slow(folder, step, write):
        # Not done before the training waits for it, however slow its steps are.
        waiting.wait(60)
        time.sleep(0.2)
        waiting.clear()
        return publish(folder, step, write)

    def seen(state):
        if state._pending is not None:
            waiting.set()
        wait(state)

    monkeypatch.setattr(checkpoint, "publish", slow)
    monkeypatch.setattr(training_state.TrainingState, "wait", seen)
    monkeypatch.setattr(training_state, "PATIENCE", 0.05)
    context = tiny.pretrain(workspace, steps=18)
    assert any("waited" in warning and "checkpoint_every" in warning for warning in context.warnings)
    saved = sorted(path.name for path in (workspace / "scratch/pretrain/checkpoints").iterdir())
    assert saved == ["step-0000000016", "step-0000000018"], "the last one is waited for at the end"
