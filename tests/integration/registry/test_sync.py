"""Sync on real workspaces and both databases: idempotent, complete, after anything and beside anything."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor

import pytest
from sqlalchemy import func, select, text
from sqlalchemy.exc import DBAPIError

import registry.lineage.sync
from registry.db.database import open as open_registry
from registry.db.schema import Artifact, Association, Base, Event, Execution, ExecutionContext, ModelVersion, Snapshot
from registry.lineage.sync import sync
from registry.lineage.trace import trace
from registry.promotion.promote import promote
from registry.store.collection import collect
from registry.store.run_locks import InUse
from registry.store.snapshot import snapshot


def rows(project) -> dict[str, list[tuple]]:
    """Everything the registry holds, but for when it was written down and what MLflow calls it."""
    volatile = {"created", "id", "mlflow_version"}
    with open_registry(project.workspace.registry_url) as opened, opened.read() as session:
        return {
            table.name: sorted(
                str({name: value for name, value in row._mapping.items() if name not in volatile})
                for row in session.execute(select(table))
            )
            for table in Base.metadata.sorted_tables
        }


def count(project, kind: type) -> int:
    with open_registry(project.workspace.registry_url) as opened, opened.read() as session:
        return session.scalar(select(func.count()).select_from(kind))


def test_complete_and_idempotent(project):
    report = sync(project.workspace, run="first")
    assert (report.problems, report.mirror.error, report.mirror.pending) == ([], None, [])
    assert (report.executed, report.cached) == (["curate", "pretrain", "evaluate@base"], [])
    assert (report.versions, report.runs) == (["base:1"], ["first"])
    before = rows(project)
    assert {name: len(found) for name, found in before.items() if found} == {
        "artifacts": 4, "components": 3, "executions": 3, "events": 7, "contexts": 1, "associations": 3, "snapshots": 1,
        "registered_models": 1, "model_versions": 1, "metrics": 3, "receipts": 3, "statements": 1,
    }  # fmt: skip

    again = sync(project.workspace, run="first")
    assert (again.executed, again.versions, again.mirror.updated) == ([], [], [])
    assert rows(project) == before
    assert sync(project.workspace).executed == []
    assert rows(project) == before


@pytest.mark.parametrize("registry_url", ["sqlite"], indirect=True)
def test_digests_are_those_of_the_lock(project):
    sync(project.workspace, run="first")
    import yaml

    lock = yaml.safe_load((project.root / "dvc.lock").read_text())["stages"]
    expected = {
        item["path"]: item["md5"]
        for stage in lock.values()
        for item in stage["deps"] + stage["outs"]
        if item["md5"].endswith(".dir")
    }
    with open_registry(project.workspace.registry_url) as opened, opened.read() as session:
        assert {row.name: row.digest for row in session.scalars(select(Artifact))} == expected


def test_a_later_run_records_what_it_reused(project):
    sync(project.workspace, run="first")
    project.set("quality: 0.8", "quality: 0.9")
    project.repro("second")
    report = sync(project.workspace, run="second")
    assert (report.executed, report.cached) == (["pretrain", "evaluate@base"], ["curate"])
    assert report.versions == ["base:2"]
    with open_registry(project.workspace.registry_url) as opened, opened.read() as session:
        (cached,) = session.scalars(select(Execution).filter_by(state="CACHED"))
        original = session.get(Execution, cached.original_id)
        assert (original.stage, original.state, original.fingerprint) == ("curate", "COMPLETE", cached.fingerprint)
        assert trace(session, "base:2").root.made_by.inputs[0][1].made_by.run == "first"
        assert trace(session, "base:2").root.made_by.non_default == {"quality": 0.9}

    # Back to the first parameters: DVC's run-cache restores bytes and receipts, so nothing is new but the reuse.
    project.set("quality: 0.9", "quality: 0.8")
    project.repro("third")
    report = sync(project.workspace, run="third")
    assert (report.executed, report.versions) == ([], [])
    assert sorted(report.cached) == ["curate", "evaluate@base", "pretrain"]


@pytest.mark.parametrize("registry_url", ["sqlite"], indirect=True)
def test_only_the_stages_a_run_walked_are_its_own(project):
    sync(project.workspace, run="first")
    assert sync(project.workspace, run="second", stages=["curate"]).cached == ["curate"]


@pytest.mark.parametrize("registry_url", ["sqlite"], indirect=True)
def test_bare_repro_is_picked_up(project):
    sync(project.workspace, run="first")
    project.set("quality: 0.8", "quality: 0.7")
    project.repro()
    report = sync(project.workspace)
    assert (report.executed, report.versions) == (["pretrain", "evaluate@base"], ["base:2"])
    (run,) = report.runs
    assert run.startswith("repro-")
    assert project.git("rev-parse", f"refs/stemma/runs/{run}") == report.snapshots[run]
    before = rows(project)
    sync(project.workspace)
    assert rows(project) == before


def test_two_processes_on_a_fresh_database(project):
    with ThreadPoolExecutor() as pool:
        commands = [pool.submit(project.stemma, "sync") for _ in range(2)]
    assert [command.result().returncode for command in commands] == [0, 0], [each.result() for each in commands]
    at_once = rows(project)
    assert (count(project, Execution), count(project, ModelVersion), count(project, Snapshot)) == (3, 1, 1)
    sync(project.workspace, run="first")
    assert rows(project) == at_once


@pytest.mark.parametrize("registry_url", ["sqlite"], indirect=True)
def test_a_run_shows_in_mlflow_what_it_ran_or_read(project):
    def shown(run: str, stages: list[str]) -> dict[str, dict]:
        sync(project.workspace, run=run, stages=stages, update_mlflow=False)
        with open_registry(project.workspace.registry_url) as opened, opened.read() as session:
            return session.scalars(select(ExecutionContext).filter_by(name=run)).one().summary

    sync(project.workspace, run="first", update_mlflow=False)
    until = shown("until-pretrain", ["curate", "pretrain"])
    assert until["metrics"].keys() == {"curate.documents_kept", "pretrain.loss"}
    assert not [name for name in until["parameters"] if name.startswith("evaluate.")]
    alone = shown("from-evaluate", ["evaluate@base"])
    assert alone["metrics"].keys() == {"curate.documents_kept", "pretrain.loss", "evaluate-base.accuracy"}
    assert shown("only-curate", ["curate"])["metrics"].keys() == {"curate.documents_kept"}


def test_a_crash_in_the_middle_leaves_nothing_or_everything(project, monkeypatch):
    calls = []

    def dies(*arguments):
        calls.append(arguments)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return record_execution(*arguments)

    record_execution = registry.lineage.sync.record_execution
    monkeypatch.setattr(registry.lineage.sync, "record_execution", dies)
    with pytest.raises(KeyboardInterrupt):
        sync(project.workspace, run="first")
    assert [count(project, kind) for kind in (Artifact, Execution, Event, ExecutionContext, Association)] == [0] * 5
    monkeypatch.undo()
    assert sync(project.workspace, run="first").executed == ["curate", "pretrain", "evaluate@base"]


@pytest.mark.parametrize("registry_url", ["sqlite"], indirect=True)
def test_a_crash_before_the_snapshot_is_made_good(project, monkeypatch):
    def dies(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        patched.setattr(registry.lineage.sync, "commit_tree", dies)
        sync(project.workspace)
    assert (count(project, Execution), count(project, Snapshot)) == (3, 0)
    assert list(sync(project.workspace).snapshots) == ["first"]
    assert sync(project.workspace).snapshots == {}


@pytest.mark.parametrize("registry_url", ["sqlite"], indirect=True)
def test_a_crash_after_a_run_was_recorded_leaves_its_tree_kept(project, monkeypatch):
    """Nobody can make it good: a run in a tree of its own has a snapshot already, and its tree goes."""

    def dies(*_):
        with pytest.raises(InUse):  # what is recorded is not collected before it is kept
            collect(project.workspace, delete=True)
        raise KeyboardInterrupt

    project.set("quality: 0.8", "quality: 0.7")
    began = snapshot(project.workspace, "first")
    project.set("quality: 0.7", "quality: 0.8")
    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        patched.setattr(registry.lineage.sync.anchor, "extend", dies)
        sync(project.workspace, run="first")
    with open_registry(project.workspace.registry_url) as opened, opened.read() as session:
        commit = session.scalars(select(Snapshot.commit_sha)).one()
    assert commit != began and "quality: 0.8" in project.git("show", f"{commit}:params.yaml")


@pytest.mark.parametrize("registry_url", ["sqlite"], indirect=True)
def test_what_cannot_be_recorded_is_told_and_the_rest_recorded(project):
    receipt = project.root / "receipts" / "pretrain.json"
    receipt.write_text(json.dumps({**json.loads(receipt.read_text()), "seed": 7}))
    report = sync(project.workspace, run="first")
    assert report.executed == ["curate", "evaluate@base"]
    assert "receipts/pretrain.json: newer than dvc.lock" in report.problems[0]


@pytest.mark.parametrize("registry_url", ["sqlite"], indirect=True)
def test_raw_data_that_no_stage_read_yet(project):
    sync(project.workspace, run="first")
    (project.root / "data" / "raw" / "b.txt").write_text("more\n")
    project.git("rm", "-r", "-q", "--cached", "data/raw")
    project.dvc("add", "-q", "data/raw")
    sync(project.workspace)
    with open_registry(project.workspace.registry_url) as opened, opened.read() as session:
        assert session.scalar(select(func.count()).select_from(Artifact).filter_by(type="raw")) == 2


def test_the_database_refuses_to_change_promotions(project):
    sync(project.workspace, run="first")
    promote(project.workspace, "base", "champion", "the first", "Ada")
    with open_registry(project.workspace.registry_url) as opened:
        statements = ["UPDATE promotions SET reason = 'x'", "DELETE FROM promotions"]
        if opened.engine.dialect.name == "postgresql":
            statements.append("TRUNCATE promotions CASCADE")
        for statement in statements:
            with pytest.raises(DBAPIError, match="append-only"), opened.engine.begin() as connection:
                connection.execute(text(statement))
