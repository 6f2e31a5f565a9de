"""The console's bench asks for every page, on a history of one family."""

from __future__ import annotations

from bench import console, lineage
from registry.db.database import open as open_registry


def test_the_bench(tmp_path, monkeypatch):
    for name, value in (("DEPTH", 4), ("FAN_OUT", 3)):
        monkeypatch.setattr(lineage, name, value)
    monkeypatch.setattr(console, "DEPTH", 4)
    url = f"sqlite:///{tmp_path / 'registry.db'}"
    monkeypatch.setenv("STEMMA_REGISTRY_URL", url)
    workspace = lineage.make_workspace(tmp_path / "workspace")
    with open_registry(url) as registry:
        console.live(registry, lineage.fill(registry, 60)["model_versions"])
        timings = console.measure(registry, workspace, questions=1, seed=1)
    assert all(len(each) == 1 for each in timings.values()) and {"models", "runs", "health"} <= timings.keys()
