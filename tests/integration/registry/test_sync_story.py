"""First smoke of the whole story; split into the files beside it."""

from registry.database import open as open_registry
from registry.lineage import models, trace
from registry.promotion import promote
from registry.signing import verify
from registry.sync import sync


def test_story(project):
    report = sync(project.workspace, run="first")
    assert report.problems == []
    assert report.executed == ["curate", "pretrain", "evaluate@base"]
    assert report.versions == ["base:1"]
    assert report.mirror.error is None and report.mirror.pending == [], report.mirror
    with open_registry(project.workspace.registry_url) as registry, registry.read() as session:
        print(models(session))
        print(trace(session, "base"))
    outcome = promote(project.workspace, "base", "champion", "first", "Ada")
    assert outcome.action == "promote", outcome.verdict
    assert outcome.mirror.error is None and outcome.mirror.pending == [], outcome.mirror
    assert verify(project.workspace, "base@champion") == [outcome.key_id]
    again = sync(project.workspace, run="second")
    assert again.executed == [] and len(again.cached) == 3 and again.mirror.told == []
