"""Three generations of a model: every one restores bit-identically, whatever came later and whatever was collected."""

from __future__ import annotations

import json
import shutil

import psycopg
import pytest
from sqlalchemy import select

from registry.db.database import open as open_registry
from registry.db.schema import ModelVersion
from registry.store.collection import collect
from registry.store.manifests import digest_of
from registry.store.restore import restore
from tests.integration.registry.conftest import Project, live


def objects(project) -> set[str]:
    """Digests of everything in DVC's cache."""
    files = (project.root / ".dvc" / "cache" / "files" / "md5").glob("*/*")
    return {f"{file.parent.name}{file.name}" for file in files}


def versions(project) -> dict[str, str]:
    with open_registry(project.workspace.registry_url) as opened, opened.read() as session:
        return {str(row): row.artifact.digest for row in session.scalars(select(ModelVersion))}


@pytest.fixture(params=["sqlite", "postgresql"])
def aged(request):
    """Three generations of a model on either database."""
    if request.param == "sqlite":
        return request.getfixturevalue("generations")
    server = request.getfixturevalue("postgresql")
    with psycopg.connect(f"{server}/postgres", autocommit=True) as connection:
        connection.execute("CREATE DATABASE generations")
    request.getfixturevalue("monkeypatch").setenv("STEMMA_REGISTRY_URL", f"{server}/generations")
    root = request.getfixturevalue("tmp_path") / "workspace"
    shutil.copytree(request.getfixturevalue("made"), root, symlinks=True)
    live(Project(root))
    return Project(root)


def test_all_generations_outlive_newer_runs_and_a_collection(aged, tmp_path):
    project = aged
    made = versions(project)
    assert sorted(made) == ["base:1", "base:2", "base:3"] and len(set(made.values())) == 3
    corpora = {
        run: json.loads(project.git("show", f"refs/stemma/runs/{run}:receipts/pretrain.json"))["inputs"][0]["digest"]
        for run in ("first", "second", "third")
    }
    assert corpora["first"] == corpora["second"] != corpora["third"]

    before = objects(project)
    planned = collect(project.workspace, keep_runs=0)
    assert objects(project) == before, "a dry run deletes nothing"
    done = collect(project.workspace, keep_runs=0, delete=True)
    assert [(row.name, row.count, row.bytes) for row in done.categories] == [
        (row.name, row.count, row.bytes) for row in planned.categories
    ]

    assert before - objects(project)
    assert set(done.kept_runs) == {"first", "second", "third"}
    assert {row.name for row in done.categories} >= {"snapshots of runs", "DVC cache", "entries of DVC's run-cache"}
    assert project.git("for-each-ref", "--format=%(refname:lstrip=3)", "refs/stemma/runs").split() == [
        "first", "second", "third",
    ]  # fmt: skip

    texts = {}
    for version, digest in made.items():
        number = version[-1]
        restored = restore(project.workspace, version, tmp_path / f"generation-{number}")
        assert digest_of(restored.root / "models" / "base") == digest
        assert (restored.root / "params.yaml").read_text() == project.git(
            "show", f"{restored.source.commit}:params.yaml"
        ) + "\n"
        assert restored.notes == []
        texts[number] = (restored.root / "data" / "corpus" / "train.txt").read_text()
    assert texts["1"] == texts["2"] == "the raw text\n" * 10 and "more raw text" in texts["3"]
    assert not json.loads(project.dvc("status", "--json").stdout), "the user's own files are all still kept"
    assert collect(project.workspace, keep_runs=0).categories == []
