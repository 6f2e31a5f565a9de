"""The last screen is shown again only while it says what is so."""

from __future__ import annotations

from core import layout
from core.workspace import Workspace
from flows.pipeline import unchanged
from flows.pipeline.report import Summary


def test_a_screen_whose_champions_another_run_has_replaced_is_not_kept(tmp_path, monkeypatch):
    for name in ("STEMMA_REGISTRY_URL", "MLFLOW_TRACKING_URI"):
        monkeypatch.delenv(name, raising=False)
    workspace = Workspace(tmp_path, tmp_path / ".stemma")
    unchanged.remember(workspace, Summary(True, [], [], {}, []))
    assert layout.last_screen(workspace.home).is_file()
    unchanged.remember(workspace, Summary(True, [], [], {"base@champion": "base:1"}, []))  # the registry has none
    assert not layout.last_screen(workspace.home).exists()
