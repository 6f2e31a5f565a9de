"""Whatever happens to the process or its checkpoints, a rerun ends with the same bits."""

from __future__ import annotations

import os
import shutil
import signal

import pytest

from components.pretrain import checkpoint
from tests.unit.pretrain import tiny


def same_as(finished, workspace) -> None:
    for part in ("models/base", "reports/pretrain"):
        for path in sorted((finished / part).iterdir()):
            assert (workspace / part / path.name).read_bytes() == path.read_bytes(), path.name


def test_killed_twice_and_run_again_ends_with_the_same_bytes(finished, workspace):
    for step in (12, 35):
        tiny.kill_amid(workspace, tiny.start(workspace), step)
    tiny.finish(tiny.start(workspace))
    same_as(finished, workspace)


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
    with open(path / checkpoint.STATE, "r+b") as file:
        file.seek(1000)
        byte = file.read(1)[0]
        file.seek(1000)
        file.write(bytes([byte ^ 1]))


DAMAGES = {
    "a flipped bit": damage_state,
    "a cut file": lambda path: os.truncate(path / checkpoint.STATE, 500),
    "no state": lambda path: (path / checkpoint.STATE).unlink(),
    "no manifest": lambda path: (path / checkpoint.MANIFEST).unlink(),
    "a torn manifest": lambda path: (path / checkpoint.MANIFEST).write_text('{"step": 2'),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_checkpoint_is_told_of_and_the_one_before_is_taken(damage, tmp_path):
    for step in (1, 2):
        checkpoint.save(tmp_path, step, {"step": step, "padding": "x" * 5000})
    DAMAGES[damage](tmp_path / "step-0000000002")
    told = []
    assert checkpoint.newest(tmp_path, told.append)["step"] == 1
    assert len(told) == 1 and "step-0000000002 is damaged" in told[0]


def test_the_last_two_checkpoints_are_kept_and_leftovers_go(tmp_path):
    for step in range(1, 6):
        checkpoint.save(tmp_path, step, {"step": step})
    (tmp_path / "step-0000000009.partial").mkdir()
    assert checkpoint.newest(tmp_path, pytest.fail)["step"] == 5
    assert sorted(path.name for path in tmp_path.iterdir()) == ["step-0000000004", "step-0000000005"]


def test_without_any_whole_checkpoint_the_training_begins_again(finished, workspace):
    shutil.copytree(finished / "scratch", workspace / "scratch")
    for path in (workspace / "scratch/pretrain/checkpoints").iterdir():
        damage_state(path)
    tiny.finish(tiny.start(workspace))
    assert tiny.weights(workspace) == tiny.weights(finished)
    assert len(tiny.events(workspace, "warning")) == 2


def test_a_full_disk_costs_a_checkpoint_not_the_training(workspace, finished, monkeypatch):
    import errno

    real = checkpoint.save

    def full(folder, step, state):
        if step == 8:
            raise OSError(errno.ENOSPC, "No space left on device")
        return real(folder, step, state)

    monkeypatch.setattr(checkpoint, "save", full)
    context = tiny.pretrain(workspace)
    assert any("no disk space for the checkpoint of step 8" in warning for warning in context.warnings)
