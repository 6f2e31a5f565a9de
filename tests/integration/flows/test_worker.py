"""The deployments of prefect.yaml, and a run by a real worker of a pool."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path

import pytest

from tests.prefect_api import ask

REPOSITORY = Path(__file__).parents[3]


@pytest.mark.nightly  # test_isolated.py and test_deployments.py have the parts
def test_a_triggered_run_works_in_a_tree_of_its_own_with_its_own_parameters(unjudged, prefect_api):
    workspace = unjudged
    shutil.copy(REPOSITORY / "prefect.yaml", workspace.root)
    (workspace.root / "flows").symlink_to(REPOSITORY / "flows")
    before = workspace.tree()
    prefect = (sys.executable, "-m", "prefect", "--no-prompt")
    ask(prefect_api, "/work_pools/", {"name": "stemma", "type": "process"})
    workspace.run_shell(*prefect, "deploy", "--all")
    deployment = ask(prefect_api, "/deployments/name/lifecycle/lifecycle", method="GET")["id"]
    body = {"parameters": {"parameters": {"preference_tune": {"beta": 0.55}}}, "state": {"type": "SCHEDULED"}}
    ask(prefect_api, f"/deployments/{deployment}/create_flow_run", body)
    workspace.run_shell(*prefect, "worker", "start", "--pool", "stemma", "--run-once")

    (flow_run,) = [each for each in ask(prefect_api, "/flow_runs/filter") if each["deployment_id"]]
    assert flow_run["state_type"] == "COMPLETED", flow_run["state"]
    assert workspace.tree() == before
    (ref,) = set(workspace.run_shell("git", "for-each-ref", "--format=%(refname)", "refs/stemma/runs").split()) - {
        "refs/stemma/runs/first"
    }
    receipt = json.loads(workspace.run_shell("git", "show", f"{ref}:receipts/preference_tune.json"))
    assert receipt["parameters"] == {"beta": 0.55}
    assert receipt["prefect"]["flow_run_id"] == flow_run["id"]
    assert len(workspace.run_shell("git", "worktree", "list").splitlines()) == 1
