"""The evaluation set changed between two versions: the champion is measured on the new one, or it is said why not."""

from __future__ import annotations

import json
import os
import shutil
import sys
from pathlib import Path

import pytest
from sqlalchemy import select

from flows.pipeline.measure import measuring
from registry.db.database import open as open_registry
from registry.db.references import resolve
from registry.db.schema import Execution
from registry.lineage.sync import sync
from registry.promotion.measurements import measurements
from registry.promotion.promote import promote
from tests.integration.registry.conftest import Project

pytestmark = pytest.mark.parametrize("registry_url", ["sqlite"], indirect=True)


def crown(project) -> Project:
    """base:1 is champion, and the corpus, on which models are evaluated too, is to be another one."""
    sync(project.workspace, run="first")
    promote(project.workspace, "base", "champion", "the first", "Ada")
    project.set("keep: 10", "keep: 11")
    project.set("quality: 0.8", "quality: 0.95")
    return project


@pytest.fixture
def champion(project):
    return crown(project)


@pytest.fixture(scope="module")
def moved_on(made, tmp_path_factory):
    """The same after the run ``second``; copied for each test."""
    root = tmp_path_factory.mktemp("moved-on") / "workspace"
    project = Project(shutil.copytree(made, root, symlinks=True))
    with pytest.MonkeyPatch.context() as patched:
        patched.setenv("PATH", f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")
        for name in ("STEMMA_REGISTRY_URL", "MLFLOW_TRACKING_URI"):
            patched.delenv(name, raising=False)
        crown(project)
        project.repro("second")
        sync(project.workspace, run="second")
    return root


@pytest.fixture
def challenged(moved_on, registry_url, tmp_path):
    """A copy of :func:`moved_on` of its own."""
    return Project(shutil.copytree(moved_on, tmp_path / "workspace", symlinks=True))


def promoted(project, reference: str):
    told: list[str] = []
    outcome = promote(
        project.workspace, reference, "champion", "more data", "Ada", measure=measuring(project.workspace, told.append)
    )
    return outcome, told


def compared(outcome):
    (check,) = [check for check in outcome.verdict.checks if " against " in check.name]
    return check


def test_champion_is_measured_on_the_new_set(challenged):
    before = (challenged.root / "dvc.lock").read_text(), challenged.git("status", "--porcelain")
    outcome, told = promoted(challenged, "base:2")
    assert told == ["evaluate@base measures base:1 on the present data"]
    check = compared(outcome)
    assert outcome.action == "promote" and check.passed
    assert check.name == "accuracy against base:1" and "0.95 against 0.8 on evaluation set" in check.detail

    with open_registry(challenged.workspace.registry_url) as opened, opened.read() as session:
        old, new = (measurements(session, resolve(session, name), "accuracy") for name in ("base:1", "base:2"))
    assert len(old) == 2 and old[0].eval_set != old[1].eval_set == new[0].eval_set
    # The workspace is as it was, and nothing is left behind.
    assert ((challenged.root / "dvc.lock").read_text(), challenged.git("status", "--porcelain")) == before
    assert list((challenged.workspace.home / "worktrees").iterdir()) == []
    assert len(challenged.git("worktree", "list").splitlines()) == 1


def test_other_parameters_are_another_measurement(champion):
    champion.set("keep: 11", "keep: 10")
    champion.set("limit: 100", "limit: 400")
    champion.repro("second")
    sync(champion.workspace, run="second")
    without = promote(champion.workspace, "base:2", "champion", "nobody measures", "Ada")
    assert "measured with other parameters of evaluate" in compared(without).detail
    outcome, _ = promoted(champion, "base:2")
    assert outcome.action == "promote"
    with open_registry(champion.workspace.registry_url) as opened, opened.read() as session:
        old = measurements(session, resolve(session, "base:1"), "accuracy")
    assert [json.loads(each.parameters)["limit"] for each in old] == [100, 400]


def test_a_candidate_of_an_older_set_is_measured_too(challenged):
    """base:2 was measured on the second set; the workspace has moved on to a third one since."""
    challenged.set("keep: 11", "keep: 12")
    challenged.repro("third")
    sync(challenged.workspace, run="third")
    outcome, told = promoted(challenged, "base:2")
    assert [line.split()[2] for line in told] == ["base:1", "base:2"]
    assert outcome.action == "promote" and "0.95 against 0.8" in compared(outcome).detail


def test_a_champion_that_cannot_be_measured_is_no_comparison(challenged):
    shutil.rmtree(challenged.workspace.home / "models")
    with open_registry(challenged.workspace.registry_url) as opened, opened.read() as session:
        digest = resolve(session, "base:1").artifact.digest
    (challenged.root / ".dvc/cache/files/md5" / digest[:2] / digest[2:]).unlink()
    outcome, _ = promoted(challenged, "base:2")
    assert outcome.action == "reject"
    detail = compared(outcome).detail
    assert "could not measure base:1 again: the files of models/base" in detail and "max_drop to null" in detail
    with open_registry(challenged.workspace.registry_url) as opened, opened.read() as session:
        stages = session.scalars(select(Execution.stage).filter_by(state="COMPLETE")).all()
    assert len(stages) == 6  # three stages, twice
