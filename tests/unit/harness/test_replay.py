"""A spool reaches MLflow once and whole, also where somebody tidied MLflow up meanwhile."""

import shutil

import pytest
from mlflow import MlflowClient

from components.harness.tracking import Replay, TrackingProblem, connect, replay_pending
from core import events, layout
from core.files import read_json
from core.workspace import mlflow_uri, sqlite_url


@pytest.fixture(scope="module")
def database(tmp_path_factory):
    """MLflow's database without an experiment of ours, to be copied: its migrations take seconds."""
    path = layout.mlflow_database(tmp_path_factory.mktemp("database"))
    MlflowClient(sqlite_url(path)).search_experiments()
    return path


@pytest.fixture(params=["plain", "q?x %2Fy#z"])
def home(request, tmp_path, database, monkeypatch):
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    home = tmp_path / request.param / ".stemma"
    home.mkdir(parents=True)
    if request.param == "plain":
        shutil.copy(database, layout.mlflow_database(home))
    return home


@pytest.fixture
def spool(home):
    log = layout.scratch(home) / "curate" / "abc" / "tracking" / "events.jsonl"
    log.parent.mkdir(parents=True)
    events.append(
        log, "open", name="curate", run="some-run", seed=7, parameters={"steps": 3}, environment={}, inputs=[],
        tags={"stemma.stage": "curate"},
    )  # fmt: skip
    for step in (1, 2):
        events.append(log, "point", step=step, metrics={"loss": 1.0 / step})
    return log


def _finish(home, spool):
    page = home.parent / "reports" / "curate.html"
    page.parent.mkdir()
    page.write_text("<p>page</p>")
    events.append(spool, "point", step=3, metrics={"loss": 0.25})
    events.append(spool, "artifact", path=str(page))
    events.append(spool, "close", status="FINISHED", tags={"stemma.state": "complete"})


def _run_of(home, client):
    [spool] = layout.event_logs(home)
    return client.get_run(read_json(layout.replay_cursor(spool), {})["run_id"])


def test_everything_of_a_spool_arrives_wherever_the_home_lies(home, spool):
    _finish(home, spool)
    assert replay_pending(home) == (1, [])
    assert events.sent(spool) and replay_pending(home) == (0, [])
    client, _ = connect(home)
    run = _run_of(home, client)
    assert run.info.status == "FINISHED" and run.data.params == {"seed": "7", "steps": "3"}
    assert [point.step for point in client.get_metric_history(run.info.run_id, "loss")] == [1, 2, 3]
    assert "curate.html" in [item.path for item in client.list_artifacts(run.info.run_id)]
    assert layout.mlflow_database(home).is_file() and list(layout.mlflow_artifacts(home).rglob("curate.html"))
    assert sorted(path.name for path in home.parent.iterdir()) == [".stemma", "reports"]


@pytest.mark.parametrize("home", ["plain"], indirect=True)
def test_a_report_that_is_published_while_it_is_sent_arrives(home, spool, monkeypatch):
    staged = home.parent / "reports" / ".curate.partial"
    staged.mkdir(parents=True)
    (staged / "report.json").write_text("{}")
    events.append(spool, "artifact", path=str(staged / "report.json"))
    log_artifact = MlflowClient.log_artifact

    def publish_first(client, *arguments):
        if str(staged) in arguments[1]:
            staged.rename(staged.with_name("curate"))
        log_artifact(client, *arguments)

    monkeypatch.setattr(MlflowClient, "log_artifact", publish_first)
    assert replay_pending(home) == (1, [])
    client, _ = connect(home)
    run = _run_of(home, client)
    assert [item.path for item in client.list_artifacts(run.info.run_id) if "report" in item.path] == ["report.json"]


@pytest.mark.parametrize("home", ["plain"], indirect=True)
def test_a_run_that_was_deleted_is_made_anew_with_every_point(home, spool):
    assert Replay(home, spool).step()
    client, _ = connect(home)
    deleted = _run_of(home, client).info.run_id
    client.delete_run(deleted)
    _finish(home, spool)
    assert replay_pending(home) == (1, [])
    run = _run_of(home, client)
    assert run.info.run_id != deleted and run.info.status == "FINISHED"
    assert [point.step for point in client.get_metric_history(run.info.run_id, "loss")] == [1, 2, 3]


@pytest.mark.parametrize("home", ["plain"], indirect=True)
def test_a_pipeline_run_that_was_deleted_is_made_anew_around_the_same_run(home, spool):
    assert Replay(home, spool).step()
    client, _ = connect(home)
    run = _run_of(home, client)
    parent = run.data.tags["mlflow.parentRunId"]
    client.delete_run(parent)
    _finish(home, spool)
    assert replay_pending(home) == (1, [])
    same = _run_of(home, client)
    assert same.info.run_id == run.info.run_id
    assert same.data.tags["mlflow.parentRunId"] != parent
    assert client.get_run(same.data.tags["mlflow.parentRunId"]).info.lifecycle_stage == "active"
    assert [point.step for point in client.get_metric_history(run.info.run_id, "loss")] == [1, 2, 3]


@pytest.mark.parametrize("home", ["plain"], indirect=True)
def test_of_a_deleted_experiment_it_is_said_how_to_restore_it(home, spool):
    assert Replay(home, spool).step()
    client, experiment = connect(home)
    run = _run_of(home, client).info.run_id
    client.delete_experiment(experiment)
    _finish(home, spool)
    with pytest.raises(TrackingProblem):
        connect(home)
    sent, [failure] = replay_pending(home)
    assert sent == 0 and not events.sent(spool)
    assert "was deleted; restore it" in failure and f"--experiment-id {experiment}" in failure
    assert mlflow_uri(home) in failure
    client.restore_experiment(experiment)
    assert replay_pending(home) == (1, [])
    assert _run_of(home, client).info.run_id == run, "the run of before goes on"
