"""Whatever is killed, no process is left, nothing half-written is taken for whole, and the next run goes on."""

import json
import os
import random
import signal
import sys

import psutil
import pytest
from mlflow import MlflowClient

from components.harness.tracking import replay_pending
from tests.counter import configure
from tests.workspace import alive, wait_until


def _events(workspace):
    return next(iter((workspace.home / "scratch" / "counter").glob("*/tracking/events.jsonl")), None)


def _steps(workspace) -> int:
    events = _events(workspace)
    return events.read_text().count('"point"') if events else 0


def _process(workspace, part: str) -> psutil.Process:
    for process in psutil.process_iter(["cmdline", "cwd"]):
        if process.info["cwd"] == str(workspace.root) and part in " ".join(process.info["cmdline"] or []):
            return process
    raise AssertionError(f"no process {part}")


def _living(workspace) -> list[str]:
    found = []
    for process in psutil.process_iter(["cmdline", "cwd", "status"]):
        if process.info["cwd"] == str(workspace.root) and process.info["status"] != psutil.STATUS_ZOMBIE:
            found.append(" ".join(process.info["cmdline"] or []))
    return found


def _total(workspace) -> float:
    return json.loads((workspace.root / "models" / "total" / "total.json").read_text())


def _receipt(workspace) -> dict:
    return json.loads((workspace.root / "receipts" / "counter.json").read_text())


def _runs(workspace) -> list:
    client = MlflowClient(tracking_uri=f"sqlite:///{workspace.home / 'mlflow.db'}")
    return client.search_runs([client.get_experiment_by_name("stemma").experiment_id])


def expected(steps: int) -> float:
    """What the counter sums when nothing disturbs it."""
    return sum(random.Random(7 * 1_000_003 + step).random() for step in range(steps))


@pytest.fixture
def go_on(workspace, tmp_path):
    """The file that the stage awaits after the tenth of its 20 steps."""
    configure(workspace, steps=20, awaits=str(tmp_path / "go-on"))
    return tmp_path / "go-on"


def test_kill_9_of_any_process_leaves_none_and_the_next_run_resumes(workspace, go_on):
    """The harness, then DVC above it; at last a power cut leaves a torn line in the spool, which costs that line."""
    workspace.start(workspace.tool("dvc"), "repro")
    wait_until(lambda: _steps(workspace) == 10, what="ten steps")
    cursor = _events(workspace).with_name("cursor.json")
    wait_until(lambda: cursor.exists() and json.loads(cursor.read_text())["run_id"], what="the run in MLflow")
    _process(workspace, "components counter").kill()
    wait_until(lambda: not _living(workspace), timeout=20, what="the end of every process")

    workspace.start(workspace.tool("dvc"), "repro")
    wait_until(lambda: any("harness.worker" in line for line in _living(workspace)), what="the second worker")
    _process(workspace, "bin/dvc").kill()
    wait_until(lambda: not _living(workspace), timeout=20, what="the end of every process")
    assert not (workspace.root / "models" / "total").exists()
    assert _steps(workspace) < 20

    with open(_events(workspace), "a") as file:
        file.write('{"kind": "point", "time": 1')
    go_on.touch()
    workspace.dvc("repro")
    assert _total(workspace) == expected(20)
    receipt = _receipt(workspace)
    assert len(receipt["attempts"]) == 3
    assert _steps(workspace) < 20 + 3, "each attempt went on from the checkpoint of the one before"
    (run,) = (each for each in _runs(workspace) if "stemma.fingerprint" in each.data.tags)
    assert run.data.tags["stemma.fingerprint"] == receipt["fingerprint"]
    assert run.info.run_id == receipt["mlflow"]["run_id"], "all attempts are one MLflow run"
    client = MlflowClient(tracking_uri=f"sqlite:///{workspace.home / 'mlflow.db'}")
    steps = [point.step for point in client.get_metric_history(run.info.run_id, "total")]
    # MLflow keeps one of two points of equal step and value (the curve's last, the final metric) in one millisecond.
    curve = [*range(1, 21)]
    assert sorted(steps) in (curve, [*curve, 20]), "no point is lost and none is sent twice"


def test_a_worker_that_dies_is_started_again_from_its_checkpoint(workspace):
    configure(workspace, steps=14, fail="die")  # at the fifth and the tenth step
    done = workspace.stage("counter")
    assert "the worker ended by signal SIGKILL (the system may have run out of memory)" in done.stderr
    assert "started again from its checkpoint (2 of at most 2)" in done.stderr
    receipt = _receipt(workspace)
    assert len(receipt["attempts"]) == 3 and len(receipt["warnings"]) == 2 and receipt["tokens"] == 14
    steps = [json.loads(line)["step"] for line in _events(workspace).read_text().splitlines() if '"point"' in line]
    assert steps == list(range(1, 15)), "nothing was made twice"
    assert _total(workspace) == expected(14)


def test_a_worker_that_dies_again_and_again_is_given_up_and_the_cause_is_named(workspace):
    configure(workspace, steps=40, fail="die")
    done = workspace.stage("counter", check=False)
    assert done.returncode == 1 and done.stderr.count("started again") == 2
    assert done.stderr.splitlines()[-1].endswith("ended by signal SIGKILL (the system may have run out of memory) and "
                                                 "left no result")  # fmt: skip
    assert not (workspace.root / "models" / "total").exists()
    [failure] = (workspace.home / "failures").glob("*.json")
    assert "SIGKILL" in json.loads(failure.read_text())["error"]


def test_sigterm_checkpoints_first_and_says_so(workspace, go_on, monkeypatch):
    stage = workspace.start(sys.executable, "-m", "components", "counter")
    wait_until(lambda: _steps(workspace) == 10, what="ten steps")
    stage.send_signal(signal.SIGTERM)
    assert stage.wait(30) == os.EX_TEMPFAIL
    checkpoint = json.loads(next((workspace.home / "scratch" / "counter").glob("*/checkpoint.json")).read_text())
    assert checkpoint["step"] == _steps(workspace), "the last step made is the last step saved"
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    assert replay_pending(workspace.home)[1] == []
    assert "KILLED" in {run.info.status for run in _runs(workspace)}
    go_on.touch()
    workspace.stage("counter")
    assert _total(workspace) == expected(20)


def test_a_component_that_ignores_sigterm_is_ended(workspace):
    configure(workspace, fail="hang")
    stage = workspace.start(sys.executable, "-m", "components", "counter", STEMMA_NOTICE_SECONDS="10")
    wait_until(lambda: _steps(workspace) >= 5, what="the hang")
    stage.send_signal(signal.SIGTERM)
    assert stage.wait(30) == os.EX_TEMPFAIL
    assert not alive(str(workspace.root))


def test_a_changed_parameter_never_resumes_a_stale_checkpoint(workspace, go_on):
    stage = workspace.start(sys.executable, "-m", "components", "counter")
    wait_until(lambda: _steps(workspace) == 10, what="ten steps")
    stage.kill()
    wait_until(lambda: not _living(workspace), timeout=20, what="the end of every process")
    configure(workspace, steps=4)
    workspace.stage("counter")
    receipt = _receipt(workspace)
    assert receipt["tokens"] == 4 and len(receipt["attempts"]) == 1


def test_several_processes_end_with_one_result_and_none_is_left(workspace, go_on):
    configure(workspace, steps=20, awaits=str(go_on), processes=2)
    stage = workspace.start(sys.executable, "-m", "components", "counter")
    wait_until(lambda: _steps(workspace) == 10, timeout=90, what="ten steps")
    stage.kill()
    wait_until(lambda: not _living(workspace), timeout=40, what="the end of every process")
    go_on.touch()
    workspace.stage("counter")
    assert _total(workspace) == expected(20)
    assert _receipt(workspace)["processes"] == 2
