"""A sweep on a small workspace: real DVC, git, registry and MLflow."""

from __future__ import annotations

import json
import os
import signal

import pytest
from mlflow import MlflowClient
from prefect import flow
from prefect.settings import PREFECT_API_AUTH_STRING, PREFECT_API_URL, temporary_settings

from core.errors import InputProblem
from core.workspace import Workspace, sqlite_url
from flows.sweeps.definition import Asked, define
from flows.sweeps.metrics import TrialMetric
from flows.sweeps.plan import plan
from flows.sweeps.task_runs import as_task_run
from flows.sweeps.trial import Pruned, TrialRun
from tests.prefect_api import ask
from tests.workspace import wait_until

SWEEP = ("sweep", "--name", "rates", "--metric", "accuracy", "--until", "pretrain", "--set", "seed=7", "--set",
         "pretrain.learning_rate=0.1,0.3")  # fmt: skip


def test_a_sweep_killed_in_the_middle_goes_on_and_its_winner_is_applied(unjudged):
    workspace = unjudged
    before = workspace.tree()
    (workspace.home / "pretrain.pid").unlink()
    workspace.told("pretrain", "steps", "100000")
    process = workspace.start(*SWEEP)
    workspace.wait_for_process_of("pretrain")
    os.kill(process.pid, signal.SIGKILL)
    workspace.wait_for_silence()
    shown = json.loads(workspace.stemma("sweep", "show", "rates", "--json"))
    assert [trial["state"] for trial in shown["trials"]] == ["interrupted"] and shown["left"] == 2
    # What its trials are run from stays, however many runs are newer by now.
    workspace.stemma("gc", "--keep-runs", "0", "--delete")
    workspace.run_shell("git", "reflog", "expire", "--expire=now", "--all")
    workspace.run_shell("git", "gc", "--quiet", "--prune=now")
    assert [row["pinned"] for row in json.loads(workspace.stemma("pin", "--json"))] == ["run rates"]

    (workspace.behave / "pretrain.steps").unlink()
    shown = json.loads(workspace.stemma(*SWEEP, "--parallel", "2", "--json"))
    assert [(trial["trial"], trial["values"], trial["state"], trial["value"]) for trial in shown["trials"]] == [
        (0, {"pretrain.learning_rate": 0.1}, "complete", 0.1),
        (1, {"pretrain.learning_rate": 0.3}, "complete", 0.3),
    ]
    assert shown["winner"]["values"] == {"pretrain.learning_rate": 0.3}
    # The seed makes curate stale: what all trials have in common was run once, and before them.
    logs = {path.parent.name: path.read_text() for path in (workspace.home / "runs").glob("rates*/curate.log")}
    assert [name for name, text in logs.items() if "Running stage 'curate'" in text] == ["rates"]
    assert json.loads(workspace.stemma("pin", "--json")) == []
    assert workspace.tree() == before
    assert len(workspace.run_shell("git", "worktree", "list").splitlines()) == 1
    assert not list((workspace.home / "worktrees").iterdir())
    assert {path.name for path in (workspace.home / "sweeps" / "rates").iterdir()} == {
        "best_so_far.png",
        "parallel_coordinates.png",
    }

    client = MlflowClient(sqlite_url(workspace.home / "mlflow.db"))
    runs = {run.info.run_name: run for run in client.search_runs(["1"])}
    parent = runs["rates: learning_rate"]
    assert parent.data.metrics == {"best_accuracy": 0.3} and parent.data.tags["stemma.winner"] == "learning_rate=0.3"
    for rate in ("0.1", "0.3"):
        child = runs[f"learning_rate={rate}"]
        assert child.data.tags["mlflow.parentRunId"] == parent.info.run_id
        assert child.data.metrics["accuracy"] == float(rate) and child.info.status == "FINISHED"

    assert "all 2 trials have ended already" in workspace.stemma(*SWEEP)
    text = workspace.stemma("sweep", "apply", "rates")
    assert "+  learning_rate: 0.3" in text and "Not written, since it was the same in all trials: seed=7" in text
    assert "# kept by every edit of the command" in (workspace.root / "params.yaml").read_text()


def test_every_mistake_is_reported_at_once_before_anything_runs(first_run):
    workspace = first_run[0]
    place = Workspace(workspace.root, workspace.home)
    wrong = ("pretrain.learning_rat=1,2", "pretrain.steps=-5,x", "preference_tune.beta=0.1,0.2", "pretrain.seed=3..1")
    with pytest.raises(InputProblem) as caught:
        define(place, Asked(wrong, "acuracy", "pretrain", trials=3, prune=True, parallel=0, name="a b"))
    expected = (
        "--set pretrain.seed=3..1: the range must begin below its end, and 3 is not below 1",
        "--trials: a grid runs every combination",
        "--parallel 0: must be from 1 to 64",
        "--name a b: use at most 60 letters",
        "--metric acuracy: no stage up to pretrain makes this metric; did you mean accuracy?",
        "--set pretrain.learning_rat: unknown parameter; did you mean 'learning_rate'?",
        "--set pretrain.steps: Input should be greater than or equal to 0 (it is -5)",
        "--set pretrain.steps: Input should be a valid integer",
        "--set preference_tune.beta: no stage of the sweep reads it; it runs curate, pretrain",
    )
    for each, begins in zip(sorted(caught.value.problems), sorted(expected), strict=True):
        assert each.startswith(begins)
    steps = ("pretrain.steps=1,2",)
    for asked, begins in (
        (Asked(steps, "accuracy", "pretrain", prune=True), "--prune: pretrain:accuracy has no values"),
        (Asked(steps, "curate:accuracy", "pretrain"), "--set pretrain.steps: curate:accuracy does not depend on it"),
        (Asked(("pretrain.seed=1,2",), "pretrain:accuracy", sampler="tpe", trials=2), "--set pretrain.seed: a sampler"),
        (Asked(("pretrain.steps=1",), "pretrain:accuracy"), "--set: nothing is varied"),
    ):
        with pytest.raises(InputProblem, match=begins):
            define(place, asked)


def test_the_same_sweep_has_the_same_name_and_stops_at_its_metric(first_run):
    place = Workspace(first_run[0].root, first_run[0].home)
    one = define(place, Asked(("pretrain.learning_rate=0.1,0.3", "pretrain.seed=1..2"), "pretrain:accuracy"))
    assert (one.trials, one.until, one.stages, one.shared) == (4, "pretrain", ("curate", "pretrain"), ("curate",))
    assert one == define(place, Asked(("pretrain.learning_rate=0.1,0.3", "pretrain.seed=1..2"), "pretrain:accuracy"))
    other = define(place, Asked(("pretrain.learning_rate=0.1,0.3", "pretrain.steps=5"), "pretrain:accuracy"))
    assert other.name != one.name and other.fixed == {"pretrain.steps": 5}

    # Before it starts: by the last run of a stage that is not planned, here without a price.
    took = first_run[0].receipt("pretrain")["seconds"]
    expected = plan(place, one, 2, 3)
    assert (expected.seconds, expected.hours) == (took, pytest.approx(2 * took / 3600))
    assert expected.device_hours == pytest.approx(3 * took / 3600) and expected.money is None
    assert str(expected).startswith("3 trials of about") and "with 2 at once" in str(expected)


def test_a_pruned_trial_saves_its_checkpoint_and_leaves_no_tree(workspace):
    workspace.told("pretrain", "steps", "100000")
    place, seen = Workspace(workspace.root, workspace.home), []

    def watch(step: int, value: float) -> bool:
        seen.append(step)
        return len(seen) > 2

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TOY_BEHAVE", str(workspace.behave))
        values = {"pretrain.learning_rate": 0.2}
        trial = TrialRun(place, "t-0", values, "pretrain", TrialMetric("pretrain", "accuracy", True, True), watch=watch)
        with pytest.raises(Pruned):
            trial.work()
    assert seen == [1, 2, 3] and (workspace.home / "pretrain.checkpoint").read_text() == "saved"
    assert not list((workspace.home / "worktrees").iterdir())
    workspace.wait_for_silence()


def test_each_trial_is_a_task_run_and_a_pruned_one_no_failure(prefect_api):
    def prune():
        raise Pruned

    @flow
    def two() -> tuple[float, float | None]:
        value = as_task_run("trial 0: rate=0.1", lambda: (0.5, None))()
        with pytest.raises(Pruned):
            as_task_run("trial 1: rate=0.3", prune)()
        return value

    auth = os.environ["PREFECT_API_AUTH_STRING"]
    with temporary_settings({PREFECT_API_URL: prefect_api, PREFECT_API_AUTH_STRING: auth}):
        assert two() == (0.5, None)

    def states() -> dict[str, str]:
        return {run["name"]: run["state_name"] for run in ask(prefect_api, "/task_runs/filter", {})}

    expected = {"trial 0: rate=0.1": "Completed", "trial 1: rate=0.3": "Pruned"}
    wait_until(lambda: expected.items() <= states().items(), what="the states of the task runs")
