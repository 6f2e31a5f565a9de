"""A workspace works wherever git clone puts it, and its databases lie in its own home."""

from __future__ import annotations

import shutil

import pytest

from registry.db.database import open as open_registry
from registry.integrity.audit import audit
from registry.lineage.sync import sync
from registry.lineage.trace import trace
from registry.promotion.promote import promote
from registry.store.restore import restore
from tests.integration.registry.conftest import Project


@pytest.mark.parametrize("name", ["größe feature%2Fbranch #1", "q?x=ü&y%20z"])
def test_signs_in_the_path(made, tmp_path, name):
    root = tmp_path / name / "workspace"
    shutil.copytree(made, root, symlinks=True, ignore=shutil.ignore_patterns(".stemma"))
    shutil.copytree(made / ".stemma" / "keys", root / ".stemma" / "keys")  # which signed the receipts
    project = Project(root)
    report = sync(project.workspace, run="first")
    assert (report.problems, report.mirror.error, report.mirror.pending) == ([], None, [])
    outcome = promote(project.workspace, "base:1", "champion", "good", "Ada")
    assert (outcome.action, outcome.mirror.error, outcome.mirror.pending) == ("promote", None, [])
    assert audit(project.workspace).findings == []
    with open_registry(project.workspace.registry_url) as opened, opened.read() as session:
        assert trace(session, "base@champion").version == 1
    restored = restore(project.workspace, "base:1", root.parent / "restored")
    assert (restored.root / "models" / "base").is_dir() and restored.notes == []
    assert {"registry.db", "mlflow.db", "mlartifacts", "models"} <= {path.name for path in (root / ".stemma").iterdir()}
    assert {path.name for path in root.parent.iterdir()} == {"workspace", "restored"}
    assert {path.name for path in tmp_path.iterdir()} == {name}
