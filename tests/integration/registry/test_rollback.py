"""Back to the previous champion: verified first, recorded, mirrored; refused where there is none or it is damaged."""

from __future__ import annotations

import pytest

from registry.db.database import open as open_registry
from registry.errors import PromotionRefused, UnknownReference
from registry.integrity.audit import audit
from registry.integrity.verification import verify
from registry.promotion.history import history
from registry.promotion.rollback import rollback


def rows(project):
    with open_registry(project.workspace.registry_url) as opened, opened.read() as session:
        return [(row.action, row.previous, row.version) for row in history(session, "base")]


def test_the_previous_champion_comes_back(promoted):
    from mlflow import MlflowClient

    workspace = promoted.workspace
    outcome = rollback(workspace, "base", "it answers too long", "Bob")
    assert (outcome.action, outcome.version, outcome.previous) == ("rollback", 1, 2)
    assert [check.name for check in outcome.verdict.checks] == ["held the alias before", "bytes", "signatures valid"]
    assert verify(workspace, "base@champion").version == "base:1"
    client = MlflowClient(f"sqlite:///{workspace.home}/mlflow.db")
    assert client.get_model_version_by_alias("base", "champion").tags["stemma.version"] == "1"

    # Whoever repeats a command that was killed does not go further, nor does one who names the target.
    for again in ({}, {"to_version": 1}):
        repeated = rollback(workspace, "base", " it answers too long", "Bob", **again)
        assert (repeated.action, repeated.version) == ("unchanged", 1)
    with pytest.raises(PromotionRefused, match="base:1 is the first base@champion"):
        rollback(workspace, "base", "further", "Bob")
    assert rollback(workspace, "base", "it was not that", "Bob", to_version=2).version == 2
    assert rows(promoted) == [("promote", None, 1), ("promote", 1, 2), ("rollback", 2, 1), ("rollback", 1, 2)]
    report = audit(workspace)
    assert report.sound and report.promotions == 4, report.broken
    # The run of each decision, with the verdict that was kept.
    experiment = client.get_experiment_by_name("stemma-promotions").experiment_id
    runs = client.search_runs([experiment], order_by=["attributes.start_time ASC"])
    assert [run.info.run_name for run in runs] == [
        "promote base:1 to @champion",
        "promote base:2 to @champion",
        "rollback base:1 to @champion",
        "rollback base:2 to @champion",
    ]
    for run in runs:
        assert {file.path for file in client.list_artifacts(run.info.run_id)} == {"gate.json", "lineage.svg"}


@pytest.mark.parametrize("registry_url", ["sqlite"], indirect=True)
def test_what_cannot_be_rolled_back(promoted):
    workspace, before = promoted.workspace, rows(promoted)
    for told, arguments, options in (
        ("--reason", ("base", " ", "Bob"), {}),
        ("no version holds base@candidate", ("base", "why", "Bob"), {"alias": "candidate"}),
        (r"base:7 never was base@champion.*earlier ones: 1\)", ("base", "why", "Bob"), {"to_version": 7}),
    ):
        with pytest.raises(PromotionRefused, match=told):
            rollback(workspace, *arguments, **options)
    with pytest.raises(UnknownReference, match="known: base"):
        rollback(workspace, "bass", "why", "Bob")
    copies = workspace.home.glob("models/*/training.json")
    (damaged,) = [path for path in copies if '"quality": 0.8' in path.read_text()]
    damaged.write_text(damaged.read_text() + " ")
    with pytest.raises(PromotionRefused, match=r"base:1 cannot be restored, so base:2 stays base@champion: .*altered"):
        rollback(workspace, "base", "why", "Bob")
    assert rows(promoted) == before
