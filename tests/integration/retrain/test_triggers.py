"""What starts a retraining by itself, on a real Prefect server: the registered cron, and the event."""

from __future__ import annotations

import sys

import pytest

from flows.retraining import triggers
from tests.integration.retrain.conftest import serving, wait_for, write_rows
from tests.prefect_api import ask

ENDED = ("COMPLETED", "FAILED", "CRASHED", "CANCELLED")


@pytest.mark.nightly  # three runs; test_retrain.py has one
def test_an_event_retrains_and_a_worse_candidate_is_refused_for_a_reason_that_is_kept_and_told(project, told):
    url = project.variables["PREFECT_API_URL"]
    project.set(
        "  minimum_documents: 2\n",
        "  minimum_documents: 2\n  cron: 0 3 * * *\n  timezone: Europe/Berlin\n  start: finetune\n  model: assistant\n",
    )
    told.status = 500  # nobody takes it, which changes nothing

    def ended() -> list[dict]:
        runs = ask(url, "/flow_runs/filter")
        return [run for run in runs if run["deployment_id"] == deployment["id"] and run["state_type"] in ENDED]

    with serving(project, sys.executable, "-m", "flows.deployments"):
        (deployment,) = wait_for(
            lambda: [each for each in ask(url, "/deployments/filter") if each["name"] == "retrain"], "it is registered"
        )
        (schedule,) = deployment["schedules"]
        assert schedule["active"] and schedule["schedule"]["cron"] == "0 3 * * *"
        assert schedule["schedule"]["timezone"] == "Europe/Berlin"
        wait_for(
            lambda: [
                each
                for each in ask(url, "/automations/filter")
                if triggers.EVENT in each["trigger"].get("expect", [])
                and each["actions"][0]["deployment_id"] == deployment["id"]
            ],
            "the automation is there",
        )
        added = project.json("data", "add", str(write_rows(project.root.parent / "poor.jsonl", 0.05, 60)))
        assert added["files"] == ["data/raw/poor.jsonl"] and added["event"] == triggers.EVENT
        (first,) = wait_for(ended, "the event started a run, and it ended")
        assert (first["state_type"], first["state"]["name"]) == ("COMPLETED", "Rejected"), first["state"]
        ran = project.ran()

        # By REST; what was judged once is not tried again.
        ask(url, "/events", [triggers.body(["data/raw/poor.jsonl"])])
        second = wait_for(lambda: [run for run in ended() if run["id"] != first["id"]], "the second event's run ended")
        assert [(run["state_type"], run["state"]["name"]) for run in second] == [("COMPLETED", "Nothing new")]
        assert project.ran() == ran

    stages = [line.split()[1] for line in ran if not line.startswith("first ")]
    assert "pretrain" not in stages and {"curate", "tune", "evaluate@assistant"} <= set(stages)
    (rejection,) = [row for row in project.json("history", "assistant") if row["action"] == "reject"]
    assert rejection["version"] == 2 and "made and measured by retrain-" in rejection["reason"]
    champions = {
        each["model"]: each["version"] for each in project.json("models") if "champion" in (each["aliases"] or [])
    }
    assert champions == {"base": 1, "assistant": 1}
    # The decoder it was made of is the champion.
    made = project.json("trace", "assistant:2")["root"]["made_by"]
    assert dict(made["inputs"])["base"]["model"] == "base:1"

    (body,) = [body for body in told.bodies if body["event"] == "rejection" and body["model"] == "assistant"]
    assert "accuracy against assistant:1" in body["reason"] and not body["verdict"]["passed"]
    reports = ask(url, "/artifacts/filter", {"artifacts": {"key": {"any_": ["retrain-report"]}}})
    report = next(each["data"] for each in reports if each["flow_run_id"] == first["id"])
    assert "# Rejected" in report and "poor.jsonl" in report
    assert "the address in TEST_WEBHOOK answered 500" in report and "secret-of-the-address" not in report
