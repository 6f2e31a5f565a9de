"""`stemma run` on a small workspace, with a real Prefect server, real DVC and the real registry."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import time
import urllib.request

import pytest

from core.workspace import Workspace
from flows.pipeline import unchanged
from tests.prefect_api import Refused, ask

STAGES = ["curate", "pretrain", "preference_tune", "evaluate@base", "evaluate@assistant"]


def states(text: str) -> dict[str, str]:
    """The last screen's table: stage to state."""
    found = {}
    for line in text.splitlines():
        for stage in STAGES:
            if line.startswith(f"{stage} "):
                found[stage] = re.split(r"\s{2,}", line[len(stage) :].strip())[0]
    return found


def test_a_first_run_makes_everything_promotes_and_says_where_to_look(first_run):
    workspace, text = first_run
    assert states(text) == dict.fromkeys(STAGES, "run")
    assert "Promoted: assistant:1 is now assistant@champion" in text
    why = "base:1 was not judged: params.yaml has no rules for base in the section promotion"
    assert f"Not promoted: {why}" in text
    assert "accuracy 0.75 ± 0.01" in text and "majority 0.3" in text
    for hint in ("stemma generate assistant@champion", "stemma trace assistant@champion", "mlflow ui"):
        assert hint in text
    assert workspace.run_shell("git", "show", "refs/stemma/runs/first:params.yaml").startswith("# kept by")
    trace = json.loads(workspace.stemma("trace", "assistant@champion", "--json"))
    assert trace["version"] == 1 and trace["aliases"] == ["champion"]
    tree = workspace.stemma("trace", "assistant")
    ids = workspace.receipt("preference_tune")["prefect"]
    assert "made by preference_tune" in tree
    assert f"Prefect flow run {ids['flow_run_id']}, task run {ids['task_run_id']}" in " ".join(tree.split())
    (line,) = [m for m in json.loads(workspace.stemma("models", "--json")) if m["model"] == "assistant"]
    assert line["aliases"] == ["champion"]


def test_prefect_knows_the_flow_its_tasks_progress_and_report(first_run, prefect_api):
    workspace, _ = first_run
    flow_run_id = workspace.receipt("pretrain")["prefect"]["flow_run_id"]
    (flow_run,) = ask(prefect_api, "/flow_runs/filter", {"flow_runs": {"id": {"any_": [flow_run_id]}}})
    assert flow_run["state_type"] == "COMPLETED"
    of_run = {"flow_runs": {"id": {"any_": [flow_run_id]}}}
    deadline = time.monotonic() + 30  # task runs are recorded from events, a moment later
    while True:
        tasks = {task["name"]: task for task in ask(prefect_api, "/task_runs/filter", of_run)}
        if set(STAGES) <= {*tasks} and all(tasks[stage]["state_type"] == "COMPLETED" for stage in STAGES):
            break
        assert time.monotonic() < deadline, tasks
        time.sleep(0.5)
    assert tasks["pretrain"]["id"] == workspace.receipt("pretrain")["prefect"]["task_run_id"]
    artifacts = ask(prefect_api, "/artifacts/filter", {"artifacts": {"flow_run_id": {"any_": [flow_run_id]}}})
    assert {f"progress-{name}" for name in ("curate", "pretrain", "preference-tune", "evaluate-base")} <= {
        artifact["key"] for artifact in artifacts if artifact["type"] == "progress" and float(artifact["data"]) == 100.0
    }
    (report,) = [artifact["data"] for artifact in artifacts if artifact["type"] == "markdown"]
    assert "| pretrain | run |" in report and "assistant:1 is now assistant@champion" in report
    assert "- base:1 was not judged" in report


def test_its_own_server_lets_in_nobody_else(prefect_api, monkeypatch):
    """The server that `stemma run` starts for itself, asked by another account and by a page of another site."""
    assert ask(prefect_api, "/flows/filter", {}) is not None
    for shown in ("", "stemma:guess"):
        monkeypatch.setenv("PREFECT_API_AUTH_STRING", shown)
        with pytest.raises(Refused, match="401"):
            ask(prefect_api, "/flows/filter", {})
    page = urllib.request.Request(f"{prefect_api}/health", headers={"Origin": "https://evil.example"})
    with urllib.request.urlopen(page, timeout=60) as answer:
        assert "access-control-allow-origin" not in {name.lower() for name in answer.headers}


def test_when_nothing_changed_no_flow_is_started_and_it_works_from_any_folder(workspace, prefect_api):
    before = ask(prefect_api, "/flow_runs/count")
    text = workspace.stemma("run", cwd=workspace.root / "code")
    assert "Nothing changed: every stage is cached." in text
    assert states(text) == dict.fromkeys(STAGES, "cached")
    assert "assistant@champion is assistant:1" in text
    # Known from then on, for as long as nothing that decides it changes.
    assert workspace.stemma("run") == text
    place = Workspace(workspace.root, workspace.home)
    assert unchanged.recall(place) is not None
    assert ask(prefect_api, "/flow_runs/count") == before
    params = workspace.root / "params.yaml"
    params.write_text(params.read_text().replace("min: 0.5", "min: 0.6"))  # DVC does not watch the rules
    assert unchanged.recall(place) is None
    assert {line["state"] for line in json.loads(workspace.stemma("status", "--json"))["stages"]} == {"up to date"}


def test_a_parameter_reruns_what_descends_from_it_and_nothing_else(workspace):
    before = (workspace.root / "params.yaml").read_text()
    text = workspace.stemma("run", "--set", "preference_tune.beta=0.2")
    assert "params.yaml: wrote preference_tune.beta=0.2" in text
    expected = {"preference_tune": "run", "evaluate@assistant": "run"}
    assert states(text) == {**dict.fromkeys(STAGES, "cached"), **expected}
    after = (workspace.root / "params.yaml").read_text()
    assert "# kept by every edit of the command" in after and "# the defaults" in after
    assert "beta: 0.2" in after
    assert "Promoted: assistant:2 is now assistant@champion (before: assistant:1)" in text

    # Going back restores from the run-cache, and does not move the alias back by itself.
    (workspace.root / "params.yaml").write_text(before)
    text = workspace.stemma("run")
    assert states(text)["preference_tune"] == "cached (restored)"
    assert "assistant@champion is assistant:2" in text


def test_what_the_gate_refused_is_judged_again_by_other_rules_without_training(workspace):
    params = workspace.root / "params.yaml"
    params.write_text(params.read_text().replace("min: 0.5", "min: 0.9"))
    text = workspace.stemma("run", "--set", "preference_tune.beta=0.4")
    assert "Not promoted: assistant:2 does not become assistant@champion: accuracy at least 0.9" in text
    text = workspace.stemma("run")  # by the same rules it is not judged again
    assert "assistant:2" not in text and len(json.loads(workspace.stemma("history", "assistant", "--json"))) == 2
    params.write_text(params.read_text().replace("min: 0.9", "min: 0.6"))
    text = workspace.stemma("run")
    assert states(text) == dict.fromkeys(STAGES, "cached")
    assert "Promoted: assistant:2 is now assistant@champion (before: assistant:1)" in text


def test_code_reruns_its_stage_and_status_says_why(unjudged):
    workspace = unjudged
    (workspace.root / "code" / "pretrain.txt").write_text("second version\n")
    lines = {line["stage"]: line for line in json.loads(workspace.stemma("status", "--json"))["stages"]}
    assert lines["pretrain"]["reasons"] == ["input code/pretrain.txt changed"]
    assert lines["evaluate@assistant"]["state"] == "follows"
    text = workspace.stemma("run", "--until", "pretrain")
    # Equal bytes come out, so nothing below it has to run.
    assert states(text) == {"curate": "cached", "pretrain": "run"}
    assert {line["state"] for line in json.loads(workspace.stemma("status", "--json"))["stages"]} == {"up to date"}


def test_from_takes_what_is_above_as_it_is(unjudged):
    workspace = unjudged
    params = workspace.root / "params.yaml"
    params.write_text(params.read_text().replace("1337", "7").replace("tune: {}", "tune: {beta: 0.3}"))
    text = workspace.stemma("run", "--from", "preference_tune")
    assert states(text) == {"preference_tune": "run", "evaluate@assistant": "run"}
    assert json.loads(workspace.stemma("status", "--json"))["stages"][0]["state"] == "stale"


def test_raw_files_are_versioned_and_a_stage_can_run_alone(workspace):
    (workspace.root / "data" / "raw" / "mine.txt").write_text("my own text")
    text = workspace.stemma("stage", "curate")
    assert "data/raw: versioned by `dvc add` (1 file)" in text
    assert (workspace.root / "data" / "raw.dvc").is_file()
    assert workspace.receipt("curate")["prefect"]["flow_run_id"] is None
    (workspace.root / "data" / "raw" / "more.txt").write_text("and more of it")
    assert "data/raw: versioned by `dvc add` (2 files)" in workspace.stemma("stage", "curate")


def test_a_bare_dvc_repro_is_picked_up_by_sync(workspace):
    workspace.run_shell("git", "config", "user.name", "Ada")
    params = workspace.root / "params.yaml"
    params.write_text(params.read_text().replace("tune: {}", "tune: {beta: 0.4}"))
    workspace.run_shell("dvc", "repro", "-q")
    report = json.loads(workspace.stemma("sync", "--json"))
    assert sorted(report["executed"]) == ["evaluate@assistant", "preference_tune"]
    assert report["versions"] == ["assistant:2"]
    text = workspace.stemma("promote", "assistant:2", "--to", "champion", "--reason", "it is shorter")
    assert "assistant:2 is now assistant@champion (before: assistant:1)" in text


def test_what_mlflow_was_not_told_is_told_at_the_next_sync(workspace):
    spool = workspace.home / "scratch" / "pretrain" / "1" / "tracking" / "events.jsonl"
    spool.parent.mkdir(parents=True)
    spool.write_text(json.dumps({"kind": "progress", "time": 1.0}) + "\n")
    down = dict(workspace.environment(), MLFLOW_TRACKING_URI="http://127.0.0.1:9")
    command = (sys.executable, "-m", "cli", "sync")
    done = subprocess.run(command, cwd=workspace.root, env=down, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert "metrics of earlier stages will be sent at the next `stemma sync`" in done.stdout
    assert not spool.with_name("cursor.json").exists()
    assert "will be sent at the next" not in workspace.stemma("sync")
    assert json.loads(spool.with_name("cursor.json").read_text())["offset"] == spool.stat().st_size
