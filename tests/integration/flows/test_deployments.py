"""The deployments at a real server: asked for as the UI does, run in processes of their own, cancelled and killed."""

from __future__ import annotations

import json
import shutil

import psutil
import pytest
from ruamel.yaml import YAML

from deploy.console.starting import NotStarted, start
from tests.integration.flows.conftest import ToyWorkspace
from tests.integration.flows.deployments import both_killed, deployments
from tests.prefect_api import Refused
from tests.prefect_database import give

pytestmark = pytest.mark.slow
LONG = "100000"  # steps of a stage that trains until it is stopped


@pytest.fixture(scope="module")
def stack(first_run, tmp_path_factory, prefect_database):
    """A server, and the deployments of a workspace in which everything ran once."""
    folder = tmp_path_factory.mktemp("served")
    shutil.copytree(first_run[0].root, folder / "ws", symlinks=True)
    (folder / "ws" / ".stemma" / "pretrain.pid").unlink(missing_ok=True)
    give(prefect_database, folder / "server")
    with deployments(ToyWorkspace(folder / "ws", folder / "behave", None), folder) as found:
        yield found


@pytest.fixture
def long_pretraining(stack):
    """Pretraining goes on until it is stopped."""
    stack.workspace.told("pretrain", "steps", LONG)
    pid = stack.workspace.home / "pretrain.pid"
    pid.unlink(missing_ok=True)
    (stack.workspace.home / "pretrain.checkpoint").unlink(missing_ok=True)
    yield pid
    (stack.workspace.behave / "pretrain.steps").unlink(missing_ok=True)


def test_everything_is_registered(stack):
    found = [stack.deployment(name) for name in ("lifecycle", "retrain", "promote", "evaluate", "rollback")]
    assert all(each["description"] and each["tags"] == ["stemma"] for each in found)
    automations = [each["name"] for each in stack.call("/automations/filter")]
    assert "stemma: crash zombie flow runs" in automations
    assert stack.call("/v2/concurrency_limits/train", method="GET")["limit"] == 1


def test_a_run_is_started_from_the_console_under_a_persons_name(stack):
    environment = {"PREFECT_API_URL": stack.api}
    run = start("retrain", "otto", environment)
    found = stack.call(f"/flow_runs/{run.id}", method="GET")
    assert found["deployment_id"] == stack.deployment("retrain")["id"]
    assert {"stemma", "by otto"} <= set(found["tags"]) and found["name"] == run.name
    stack.call(f"/flow_runs/{run.id}", method="DELETE")  # the next tests show that such a run is taken up
    with pytest.raises(NotStarted, match="no deployment else yet"):
        start("else", "otto", environment)
    with pytest.raises(NotStarted, match="does not answer"):
        start("retrain", "otto", {"PREFECT_API_URL": "http://127.0.0.1:9/api"})


def test_a_form_changes_only_what_was_changed_in_it_and_holds_over_its_recipe(stack):
    workspace = stack.workspace
    shown = stack.deployment("lifecycle")["parameters"]
    form = shown["parameters"]
    assert form["preference_tune"]["beta"] == 0.1 and form["seed"] == 1337
    params = workspace.root / "params.yaml"
    original = params.read_text()
    (workspace.root / "recipes").mkdir()
    (workspace.root / "recipes" / "other.yaml").write_text("preference_tune: {beta: 0.9}\npretrain: {steps: 17}\n")
    # Edited after the form was drawn: the form still says 1337, and must not take the edit back.
    params.write_text(original.replace("seed: 1337", "seed: 99"))
    try:
        before = workspace.tree()
        form["preference_tune"]["beta"] = 0.55
        run = stack.run("lifecycle", recipe="other", parameters=form, drawn=shown["drawn"], until="pretrain")
        stack.until(run, "Completed")
        assert workspace.tree() == before
    finally:
        params.write_text(original)
    refs = workspace.run_shell("git", "for-each-ref", "--sort=-creatordate", "--format=%(refname)", "refs/stemma/runs")
    kept = workspace.run_shell("git", "show", f"{refs.split()[0]}:params.yaml")
    assert kept.splitlines()[0] == original.splitlines()[0], "comments stay"
    expected = {"seed": 99, "preference_tune": {"beta": 0.55}, "pretrain": {"steps": 17}}
    assert YAML(typ="safe").load(kept) == {**YAML(typ="safe").load(original), **expected}


def test_what_the_form_does_not_allow_is_refused_and_what_the_run_finds_is_told_in_one_message(stack):
    with pytest.raises(Refused, match="less than the minimum"):
        stack.run("lifecycle", parameters={"pretrain": {"steps": -1}})
    with pytest.raises(Refused, match="pretraining"):
        stack.run("lifecycle", until="pretraining")
    before = stack.workspace.tree()
    run = stack.run(
        "lifecycle", parameters={"pretrain": {"epochs": 1.0}, "curate": {"deduplication": {"threshold": 0.5}}}
    )
    message = stack.until(run, "Failed")["message"]
    assert "params.yaml: pretrain" in message and "params.yaml: curate.deduplication" in message
    assert "--set" not in message
    assert stack.workspace.tree() == before


def test_one_trains_at_a_time_and_a_cancelled_training_saves_its_checkpoint_and_leaves_nothing(stack, long_pretraining):
    first = stack.run("lifecycle", parameters={"pretrain": {"steps": 21}}, until="pretrain")
    stack.workspace.wait_for_process_of("pretrain")
    (stack.workspace.behave / "pretrain.steps").unlink()  # the second one ends by itself
    second = stack.run("lifecycle", parameters={"pretrain": {"steps": 22}}, until="pretrain")
    stack.wait(lambda: "another run holds the concurrency limit" in stack.logs(second), "the second run waits")
    pid = int(long_pretraining.read_text())
    stack.call(f"/flow_runs/{first}/set_state", {"state": {"type": "CANCELLING"}})
    stack.until(first, "Cancelled")
    assert not psutil.pid_exists(pid)
    assert (stack.workspace.home / "pretrain.checkpoint").read_text() == "saved"
    stack.until(second, "Completed")
    assert stack.tasks(second)["pretrain"]["state"]["name"] == "Completed"
    assert len(stack.workspace.run_shell("git", "worktree", "list").splitlines()) == 1


def test_a_killed_run_is_crashed_at_once_and_its_retry_goes_on(stack, long_pretraining):
    run = stack.run("lifecycle", parameters={"pretrain": {"steps": 31}}, until="pretrain", run="named")
    stack.workspace.wait_for_process_of("pretrain")
    stage = int(long_pretraining.read_text())
    stack.flow_process(run).kill()
    stack.until(run, "Crashed", seconds=60)
    stack.wait(lambda: not psutil.pid_exists(stage), "the stage has ended", seconds=60)
    assert (stack.workspace.home / "pretrain.checkpoint").read_text() == "saved"
    assert (stack.workspace.home / "worktrees" / "named").is_dir()
    (stack.workspace.behave / "pretrain.steps").unlink()
    stack.call(f"/flow_runs/{run}/set_state", {"state": {"type": "SCHEDULED", "name": "AwaitingRetry"}, "force": True})
    stack.until(run, "Completed")
    assert not (stack.workspace.home / "worktrees" / "named").exists()


def test_the_end_of_the_serving_process_stops_what_it_runs_and_registering_again_changes_nothing(
    stack, long_pretraining
):
    run = stack.run("lifecycle", parameters={"pretrain": {"steps": 41}}, until="pretrain")
    stack.workspace.wait_for_process_of("pretrain")
    before = {name: stack.deployment(name) for name in ("lifecycle", "retrain", "promote", "evaluate", "rollback")}
    stack.call("/v2/concurrency_limits/train", {"limit": 2}, "PATCH")
    stack.stop()
    state = stack.state(run)
    assert (state["name"], state["message"]) == ("Cancelled", "Runner is shutting down.")
    assert (stack.workspace.home / "pretrain.checkpoint").read_text() == "saved"
    stack.workspace.wait_for_silence()
    stack.start()
    for name, old in before.items():
        new = stack.deployment(name)
        for key in ("id", "parameters", "parameter_openapi_schema", "description", "schedules", "paused"):
            assert new[key] == old[key], (name, key)
    automations = [each["name"] for each in stack.call("/automations/filter")]
    assert len(automations) == len(set(automations))
    assert stack.call("/v2/concurrency_limits/train", method="GET")["limit"] == 2  # what somebody set stays


@pytest.fixture(scope="module")
def silent(stack) -> str:
    """A run whose process and whose server's were killed at once. It takes a while to be noticed: other tests go on."""
    stack.call("/v2/concurrency_limits/train", {"limit": 2}, "PATCH")  # beside this one, which holds its place
    stack.workspace.told("pretrain", "steps", LONG)
    (stack.workspace.home / "pretrain.pid").unlink(missing_ok=True)
    run = stack.run("lifecycle", parameters={"pretrain": {"steps": 51}}, until="pretrain")
    stack.workspace.wait_for_process_of("pretrain")
    both_killed(stack, run)
    stack.workspace.wait_for_silence()
    (stack.workspace.behave / "pretrain.steps").unlink()
    assert stack.state(run)["name"] == "Running"  # nobody was left to say otherwise
    stack.start()
    return run


def test_a_run_is_reported_and_a_person_rejects_what_it_made(stack, silent):
    """How a person approves is shown in tests/e2e/browser."""
    params = stack.workspace.root / "params.yaml"
    original = params.read_text()
    params.write_text(original.replace("promotion:\n", "promotion:\n  approval: required\n"))
    try:
        decided = len(_history(stack))
        run = stack.run("lifecycle", parameters={"preference_tune": {"beta": 0.21}})
        stack.until(run, "Completed")
        tasks = stack.tasks(run)
        assert {tasks[name]["state"]["name"] for name in ("curate", "pretrain")} == {"Cached"}
        assert "made by MLflow run" in tasks["pretrain"]["state"]["message"]
        artifacts = stack.artifacts(run)
        assert "MLflow run" in artifacts["made-by-pretrain"]["data"]
        report = artifacts["lifecycle-report"]["data"]
        assert "| pretrain | cached |" in report and "| preference_tune | run |" in report
        assert "Awaits approval" in report and "/runs/flow-run/" in report
        body = {"flow_runs": {"tags": {"all_": ["approval"]}}}
        (asked,) = [each["id"] for each in stack.call("/flow_runs/filter", body)]
        assert asked in report
        stack.until(asked, "Suspended")
        assert len(_history(stack)) == decided  # nothing is decided yet
        answer = {"approve": False, "by": "Grace Hopper", "comment": "read twenty answers"}
        stack.call(f"/flow_runs/{asked}/resume", {"run_input": answer})
        assert "rejected by Grace Hopper: read twenty answers" in stack.until(asked, "Rejected")["message"]
        last = _history(stack)[-1]
        assert (last["action"], last["actor"]) == ("reject", "Grace Hopper")
    finally:
        params.write_text(original)


def test_a_model_is_measured_on_the_evaluation_set_of_an_earlier_run(stack, silent):
    run = stack.run("evaluate", model="assistant", version=1, evaluation_set="first")
    assert "accuracy 0.75" in stack.until(run, "Measured")["message"]
    assert "| accuracy |" in stack.artifacts(run)["evaluation-assistant"]["data"]


@pytest.mark.nightly  # waits for the clock
def test_a_schedule_fires_while_the_run_of_killed_processes_becomes_crashed(stack, silent):
    sync = stack.deployment("sync")["id"]
    stack.call(f"/deployments/{sync}/schedules", [{"schedule": {"interval": 15}, "active": True}])
    begun = {"any_": ["PENDING", "RUNNING", "COMPLETED"]}
    body = {"flow_runs": {"deployment_id": {"any_": [sync]}, "state": {"type": begun}}, "sort": "START_TIME_ASC"}
    (first, *_) = stack.wait(lambda: stack.call("/flow_runs/filter", body), "a scheduled run has begun")
    for schedule in stack.deployment("sync")["schedules"]:
        stack.call(f"/deployments/{sync}/schedules/{schedule['id']}", method="DELETE")
    assert first["auto_scheduled"]
    stack.until(first["id"], "Completed")
    assert "heartbeat stopped" in stack.until(silent, "Crashed", seconds=150)["message"]


def _history(stack) -> list[dict]:
    out, _ = stack.workspace.start("history", "assistant", "--json").communicate(timeout=60)
    return json.loads(out)
