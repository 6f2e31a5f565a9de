"""A stage that fails leaves a record: the next sync files it once, with what it read and why it failed."""

from __future__ import annotations

import shutil

from sqlalchemy import select

from core.workspace import Workspace
from registry.db.database import open as open_registry
from registry.db.schema import Association, Event, Execution, ExecutionContext
from registry.lineage.sync import sync
from tests.workspace import make_workspace


def test_a_failed_stage_is_recorded_once(tmp_path):
    made = make_workspace(tmp_path / "workspace")
    parameters = made.root / "params.yaml"
    text = parameters.read_text()
    assert "- type: python_docs\n      kinds: [docstring, comment, topic, c_doc]\n      max_documents: null" in text
    parameters.write_text(text.replace(
        "- type: python_docs\n      kinds: [docstring, comment, topic, c_doc]\n      max_documents: null",
        "- {type: files, paths: [data/raw/*.jsonl], text_column: text, license: MIT}",
    ).replace("source: topics ", "source: none "))  # fmt: skip
    (made.root / "data/raw").mkdir(parents=True, exist_ok=True)
    (made.root / "data/raw/broken.jsonl").write_text("not json\n")
    nowhere = {"MLFLOW_TRACKING_URI": "http://127.0.0.1:1"}  # a database of its own takes longer than the rest
    assert made.stage("curate", check=False, STEMMA_RUN="broken", **nowhere).returncode != 0
    (left,) = (made.home / "failures").glob("*.json")
    again = tmp_path / left.name
    shutil.copy(left, again)

    workspace = Workspace.find(made.root)
    assert sync(workspace, update_mlflow=False).failed == ["curate"]
    assert list((made.home / "failures").glob("*.json")) == []
    shutil.copy(again, left)  # as if the sync had died before it took the file away
    assert sync(workspace, update_mlflow=False).failed == []
    with open_registry(workspace.registry_url) as registry, registry.read() as session:
        (row,) = session.scalars(select(Execution))
        assert (row.state, row.stage, row.component.name) == ("FAILED", "curate", "curate")
        assert "data/raw" in row.error and row.started < row.ended
        assert [event.direction for event in session.scalars(select(Event))] == ["INPUT"]
        assert session.scalars(select(ExecutionContext.name).join(Association)).all() == ["broken"]
