"""Every problem is reported at once, with exit code 2 and nothing changed."""

import json
import os
import subprocess
import sys

import pytest

from tests import warm_python
from tests.counter import configure
from tests.workspace import wait_until


def _tree(workspace):
    return {path: path.stat().st_mtime_ns for path in workspace.root.rglob("*")
            if ".git" not in path.parts and ".stemma" not in path.parts}  # fmt: skip


def test_wrong_parameters_are_all_reported_with_their_paths(workspace):
    configure(workspace, stepz=3, pause=-1.0, processes="two")
    before = _tree(workspace)
    done = workspace.stage("counter", check=False)
    assert done.returncode == 2
    assert "3 problems" in done.stderr
    assert "params.yaml: counter.stepz: unknown parameter; did you mean 'steps'?" in done.stderr
    assert "params.yaml: counter.pause:" in done.stderr and "-1.0" in done.stderr
    assert "params.yaml: counter.processes:" in done.stderr and "'two'" in done.stderr
    assert _tree(workspace) == before


def test_a_missing_input_and_a_bad_seed_are_reported_together(workspace):
    (workspace.root / "data" / "numbers" / "seen.txt").unlink()
    (workspace.root / "data" / "numbers").rmdir()
    (workspace.root / "params.yaml").write_text("seed: -3\ncounter: {}\n")
    done = workspace.stage("counter", check=False)
    assert done.returncode == 2
    assert "data/numbers: missing" in done.stderr and "seed" in done.stderr


def test_what_keeps_machines_and_devices_apart_is_reported_with_the_rest(workspace):
    (workspace.root / "params.yaml").write_text("pretrain: {nodes: 2, devices: 4, sharding: fsdp2}\n")
    done = workspace.stage("pretrain", check=False, CUDA_VISIBLE_DEVICES="", STEMMA_NODE_RANK="2")
    assert done.returncode == 2
    assert "2 machines cannot meet: set STEMMA_MAIN_ADDRESS=HOST:PORT" in done.stderr
    assert "STEMMA_NODE_RANK=2: the machines are numbered from 0 to 1" in done.stderr
    assert "params.yaml: pretrain.sharding: fsdp2: divides the model among GPUs, and this machine has" in done.stderr
    assert "data/tokens: missing" in done.stderr


def test_duplicate_keys_are_a_problem(workspace):
    (workspace.root / "params.yaml").write_text("seed: 1\nseed: 2\n")
    done = workspace.stage("counter", check=False)
    assert done.returncode == 2 and "seed" in done.stderr


def test_problems_found_by_the_component_are_all_reported(workspace):
    configure(workspace, fail="problem")
    done = workspace.stage("counter", check=False)
    assert done.returncode == 2
    assert "first thing" in done.stderr and "second thing" in done.stderr
    assert not (workspace.root / "models").exists() or not any((workspace.root / "models").glob("total"))


def test_a_failure_is_no_problem_of_the_user_and_keeps_the_old_output(workspace):
    old = workspace.root / "models" / "total" / "total.json"
    old.parent.mkdir()
    old.write_text("12.5")
    configure(workspace, fail="crash")
    done = workspace.stage("counter", check=False)
    assert done.returncode == 1 and "the sum does not please" in done.stderr
    assert old.read_text() == "12.5"


def test_outside_git_and_outside_a_workspace_it_says_what_to_do(workspace, tmp_path):
    done = subprocess.run([sys.executable, "-m", "components", "curate"], cwd=tmp_path, capture_output=True, text=True,
                          env={**workspace.environment, "PYTHONPATH": str(workspace.root)}, check=False)  # fmt: skip
    assert done.returncode == 2 and "dvc.yaml" in done.stderr
    (tmp_path / "dvc.yaml").write_text("stages: {}\n")
    done = subprocess.run([sys.executable, "-m", "components", "curate"], cwd=tmp_path, capture_output=True, text=True,
                          env={**workspace.environment, "PYTHONPATH": str(workspace.root)}, check=False)  # fmt: skip
    assert done.returncode == 2 and "git init" in done.stderr


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may mount the small file system that gets full")
def test_a_full_disk_is_reported_before_or_during_the_work(workspace, tmp_path):
    full = tmp_path / "full"
    full.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=8m", "tmpfs", str(full)], check=True)
    try:
        done = workspace.stage("counter", check=False, STEMMA_HOME=str(full))
        assert done.returncode == 2 and "no disk space" in done.stderr
    finally:
        subprocess.run(["umount", "-l", str(full)], check=True)


def test_it_works_from_any_folder_of_the_workspace(workspace):
    done = warm_python.run("components", ["counter"], cwd=workspace.root / "data" / "raw",
                           env={**workspace.environment, "PYTHONPATH": str(workspace.root)})  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert (workspace.root / "models" / "total" / "total.json").exists()


def test_a_problem_that_only_another_process_finds_is_reported(workspace):
    configure(workspace, fail="problem of a rank", processes=2)
    done = workspace.stage("counter", check=False)
    assert done.returncode == 2, done.stderr
    assert "data/numbers: cannot be read by this process" in done.stderr


def test_what_changed_while_a_stage_ran_is_not_taken_for_what_it_read(workspace, tmp_path):
    """DVC notes the state of dependencies after a stage: it would call outputs of the old bytes up to date."""
    go_on = tmp_path / "go-on"
    configure(workspace, steps=20, awaits=str(go_on))
    stage = workspace.start(workspace.tool("dvc"), "repro")
    events = workspace.home / "scratch" / "counter"
    wait_until(lambda: any('"step": 10,' in log.read_text() for log in events.glob("*/tracking/events.jsonl")), 60)
    with open(workspace.root / "data" / "numbers" / "seen.txt", "a") as file:
        file.write("4\n")
    configure(workspace, steps=21, awaits=str(go_on))
    with open(workspace.root / "components" / "counter" / "stage.py", "a") as file:
        file.write("\n# another line\n")
    go_on.touch()
    assert stage.wait(60) != 0
    said = (workspace.root.parent / f"{workspace.root.name}.dvc.log").read_text()
    assert "data/numbers: changed while counter ran" in said
    assert "params.yaml: counter or seed changed while counter ran" in said
    assert "the code of counter changed while it ran" in said
    assert not (workspace.root / "models" / "total").exists()
    workspace.dvc("repro")
    assert json.loads((workspace.root / "receipts" / "counter.json").read_text())["tokens"] == 21
    assert workspace.dvc("status", "--json").stdout.strip() == "{}"
