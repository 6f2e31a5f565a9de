"""Whatever is killed, no process is left, nothing half-written is taken for whole, and the next run goes on."""

import json
import os
import random
import signal
import sys

import psutil
import pytest
from mlflow import MlflowClient

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


@pytest.fixture(scope="session")
def undisturbed(_template, tmp_path_factory) -> str:
    workspace = _template.copy_to(tmp_path_factory.mktemp("undisturbed") / "workspace")
    configure(workspace, steps=60)
    workspace.dvc("repro")
    return (workspace.root / "models" / "total" / "total.json").read_text()


@pytest.mark.parametrize("victim", ["components counter", "bin/dvc"])
def test_kill_9_leaves_no_process_and_the_next_run_resumes(workspace, undisturbed, victim):
    configure(workspace, steps=60, pause=0.1)
    workspace.start(workspace.tool("dvc"), "repro")
    wait_until(lambda: _steps(workspace) >= 10, what="ten steps")
    _process(workspace, victim).kill()
    wait_until(lambda: not _living(workspace), timeout=20, what="the end of every process")
    assert not (workspace.root / "models" / "total").exists()
    before = _steps(workspace)
    assert before < 60
    workspace.dvc("repro")
    assert (workspace.root / "models" / "total" / "total.json").read_text() == undisturbed
    receipt = json.loads((workspace.root / "receipts" / "counter.json").read_text())
    assert len(receipt["attempts"]) == 2
    opened = [json.loads(line)["step"] for line in _events(workspace).read_text().splitlines() if '"point"' in line]
    assert len(opened) < 60 + 3, "the second attempt went on from the first one's checkpoint"
    client = MlflowClient(tracking_uri=f"sqlite:///{workspace.home / 'mlflow.db'}")
    experiment = client.get_experiment_by_name("stemma").experiment_id
    runs = client.search_runs([experiment], f"tags.`stemma.fingerprint` = '{receipt['fingerprint']}'")
    assert [run.info.run_id for run in runs] == [receipt["mlflow"]["run_id"]], "both attempts are one MLflow run"
    steps = [point.step for point in client.get_metric_history(runs[0].info.run_id, "total")]
    # MLflow keeps one of two points of equal step and value (the curve's last, the final metric) in one millisecond.
    curve = [*range(1, 61)]
    assert sorted(steps) in (curve, [*curve, 60]), "no point is lost and none is sent twice"


def test_a_worker_that_dies_is_started_again_from_its_checkpoint(workspace):
    configure(workspace, steps=14, fail="die")  # at the fifth and the tenth step
    done = workspace.stage("counter")
    assert "the worker ended by signal SIGKILL (the system may have run out of memory)" in done.stderr
    assert "started again from its checkpoint (2 of at most 2)" in done.stderr
    receipt = json.loads((workspace.root / "receipts" / "counter.json").read_text())
    assert len(receipt["attempts"]) == 3 and len(receipt["warnings"]) == 2 and receipt["tokens"] == 14
    steps = [json.loads(line)["step"] for line in _events(workspace).read_text().splitlines() if '"point"' in line]
    assert steps == list(range(1, 15)), "nothing was made twice"
    total = sum(random.Random(7 * 1_000_003 + step).random() for step in range(14))
    assert json.loads((workspace.root / "models" / "total" / "total.json").read_text()) == total


def test_a_worker_that_dies_again_and_again_is_given_up_and_the_cause_is_named(workspace):
    configure(workspace, steps=40, fail="die")
    done = workspace.stage("counter", check=False)
    assert done.returncode == 1 and done.stderr.count("started again") == 2
    assert done.stderr.splitlines()[-1].endswith("ended by signal SIGKILL (the system may have run out of memory) and "
                                                 "left no result")  # fmt: skip
    assert not (workspace.root / "models" / "total").exists()
    [failure] = (workspace.home / "failures").glob("*.json")
    assert "SIGKILL" in json.loads(failure.read_text())["error"]


def test_sigterm_checkpoints_first_and_says_so(workspace, undisturbed):
    configure(workspace, steps=60, pause=0.1)
    stage = workspace.start(sys.executable, "-m", "components", "counter")
    wait_until(lambda: _steps(workspace) >= 5, what="five steps")
    stage.send_signal(signal.SIGTERM)
    assert stage.wait(30) == os.EX_TEMPFAIL
    checkpoint = json.loads(next((workspace.home / "scratch" / "counter").glob("*/checkpoint.json")).read_text())
    assert checkpoint["step"] == _steps(workspace), "the last step made is the last step saved"
    workspace.stage("replay")
    client = MlflowClient(tracking_uri=f"sqlite:///{workspace.home / 'mlflow.db'}")
    runs = client.search_runs([client.get_experiment_by_name("stemma").experiment_id])
    assert "KILLED" in {run.info.status for run in runs}
    workspace.stage("counter")
    assert (workspace.root / "models" / "total" / "total.json").read_text() == undisturbed


def test_a_component_that_ignores_sigterm_is_ended(workspace):
    configure(workspace, fail="hang")
    stage = workspace.start(sys.executable, "-m", "components", "counter")
    wait_until(lambda: _steps(workspace) >= 5, what="the hang")
    stage.send_signal(signal.SIGTERM)
    assert stage.wait(30) == os.EX_TEMPFAIL
    assert not alive(str(workspace.root))


def test_a_changed_parameter_never_resumes_a_stale_checkpoint(workspace):
    configure(workspace, steps=60, pause=0.1)
    stage = workspace.start(sys.executable, "-m", "components", "counter")
    wait_until(lambda: _steps(workspace) >= 5, what="five steps")
    stage.kill()
    wait_until(lambda: not _living(workspace), timeout=20, what="the end of every process")
    configure(workspace, steps=4)
    workspace.stage("counter")
    receipt = json.loads((workspace.root / "receipts" / "counter.json").read_text())
    assert receipt["tokens"] == 4 and len(receipt["attempts"]) == 1


def test_a_torn_last_line_of_the_spool_costs_that_line_only(workspace):
    configure(workspace, steps=60, pause=0.1)
    stage = workspace.start(sys.executable, "-m", "components", "counter")
    wait_until(lambda: _steps(workspace) >= 5, what="five steps")
    stage.kill()
    wait_until(lambda: not _living(workspace), timeout=20, what="the end of every process")
    with open(_events(workspace), "a") as file:
        file.write('{"kind": "point", "time": 1')
    workspace.stage("counter")
    assert json.loads((workspace.root / "receipts" / "counter.json").read_text())["mlflow"]["run_id"]


def test_several_processes_end_with_one_result_and_none_is_left(workspace, undisturbed):
    configure(workspace, steps=60, pause=0.1, processes=2)
    stage = workspace.start(sys.executable, "-m", "components", "counter")
    wait_until(lambda: _steps(workspace) >= 5, timeout=90, what="five steps")
    stage.kill()
    wait_until(lambda: not _living(workspace), timeout=40, what="the end of every process")
    workspace.stage("counter")
    assert (workspace.root / "models" / "total" / "total.json").read_text() == undisturbed
    assert json.loads((workspace.root / "receipts" / "counter.json").read_text())["processes"] == 2
