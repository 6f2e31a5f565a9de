"""The lineage bench fills and asks what it says, on a history of one family."""

from __future__ import annotations

import pytest

from bench import lineage
from registry.lineage.impact import impact
from registry.lineage.trace import trace


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in (("DEPTH", 4), ("FAN_OUT", 3)):
        monkeypatch.setattr(lineage, name, value)


def test_the_bench(registry, tmp_path, monkeypatch, small, capsys):
    counts = lineage.fill(registry, 60)
    assert counts == {"artifacts": 61, "executions": 12, "events": 72, "model_versions": 3}
    workspace = lineage.make_workspace(tmp_path / "workspace")
    with registry.read() as session:
        assert len(trace(session, "base:2").executions()) == 4
        raw = session.get(lineage.Artifact, 1).digest
        found = impact(session, workspace, raw)
        assert (len(found.artifacts), len(found.versions)) == (60, 3)
    monkeypatch.setenv("STEMMA_REGISTRY_URL", str(registry.engine.url))
    timings = lineage.measure(registry, workspace, questions=1, seed=1)
    for name, timing in timings.items():
        lineage.report(name, timing)
    assert capsys.readouterr().out.count("n=1\n") == 5
    with registry.read() as session:
        assert session.query(lineage.Artifact).count() == 61 + 50
