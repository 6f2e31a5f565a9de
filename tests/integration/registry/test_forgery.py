"""What somebody who can write the database, or a receipt, but has no key can do: nothing that stays unnoticed."""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing

import pytest
from sqlalchemy import select

from core.keys import HISTORY
from core.workspace import Workspace
from deploy.gateway.catalog import Catalog
from deploy.gateway.local_generation import generate
from registry.db.database import open as open_registry
from registry.db.schema import Promotion
from registry.errors import PromotionRefused, UnsoundHistory
from registry.integrity.audit import audit
from registry.integrity.chain import hash_of, link_of
from registry.integrity.verification import verify
from registry.lineage.sync import sync
from registry.promotion.promote import promote
from registry.promotion.rollback import rollback
from registry.store.materialize import materialize

pytestmark = pytest.mark.parametrize("registry_url", ["sqlite"], indirect=True)


def attack(project, *statements: str) -> None:
    """Write the database as its owner can: triggers dropped, references between rows not looked at."""
    with closing(sqlite3.connect(project.workspace.home / "registry.db")) as connection:
        for verb in ("update", "delete"):
            connection.execute(f"DROP TRIGGER IF EXISTS promotions_no_{verb}")
        for statement in statements:
            connection.execute(statement)
        connection.commit()


def rechain(project, **changed: str) -> None:
    """Give every row the changed values, and a hash that fits them."""
    attack(project)
    with open_registry(project.workspace.registry_url) as registry, registry.write() as session:
        previous = "0" * 64
        for row in session.scalars(select(Promotion).order_by(Promotion.id)):
            for name, value in changed.items():
                setattr(row, name, value)
            row.previous_hash = previous
            row.hash = previous = hash_of(link_of(session, row))
            session.flush()


def forge(project) -> None:
    """Append a promotion of base:1 whose hash fits, as the code itself would."""
    with open_registry(project.workspace.registry_url) as registry, registry.write() as session:
        last = session.scalars(select(Promotion).order_by(Promotion.id.desc())).first()
        row = Promotion(
            model_id=last.model_id, alias=last.alias, from_version_id=last.to_version_id,
            to_version_id=last.from_version_id, action="promote", forced=False, passed=True,
            gate_artifact_id=last.gate_artifact_id, actor="Ada", reason="better", time=last.time,
            previous_hash=last.hash,
        )  # fmt: skip
        row.hash = hash_of(link_of(session, row))
        session.add(row)


def refused(project) -> None:
    """No reader of the alias believes it."""
    workspace, catalog = project.workspace, Catalog(project.workspace)
    for read in (
        lambda: verify(workspace, "base@champion"),
        lambda: materialize(workspace, "base@champion"),
        lambda: list(generate(workspace, "base@champion", "one", max_tokens=2, warn=print)),
        lambda: catalog.lookup("base@champion"),
        lambda: promote(workspace, "base:1", "candidate", "on top of it", "Ada"),
        lambda: rollback(workspace, "base", "on top of it", "Ada"),
    ):
        with pytest.raises(UnsoundHistory):
            read()
    catalog.close()


def first(project) -> str:
    report = audit(project.workspace)
    assert report.broken, report.findings
    return f"{report.broken[0].part}: {report.broken[0].subject}: {report.broken[0].detail}"


def test_a_forged_promotion(promoted):
    forge(promoted)
    found = [(finding.part, finding.subject, finding.detail[:16]) for finding in audit(promoted.workspace).broken]
    assert ("statement", "promotion 3 (base@champion)", "it is not signed") in found
    refused(promoted)
    assert "not what was signed" in sync(promoted.workspace).mirror.error  # MLflow does not show it


def test_rows_rewritten_with_a_fresh_chain(promoted):
    rechain(promoted, actor="Eve")
    assert any(finding.subject == "promotion 1 (base@champion)" and finding.part == "statement"
               for finding in audit(promoted.workspace).broken)  # fmt: skip
    refused(promoted)


def test_the_last_promotion_cut_off(promoted):
    attack(
        promoted,
        "DELETE FROM contexts WHERE type = 'release' AND name IN (SELECT hash FROM promotions WHERE id = 2)",
        "DELETE FROM statements WHERE promotion_id = 2",
        "DELETE FROM promotions WHERE id = 2",
        "DELETE FROM signatures WHERE version_id = 2",
        "DELETE FROM alias_mirrors",
    )
    found = [f"{finding.subject} {finding.detail}" for finding in audit(promoted.workspace).broken]
    assert any("promote base:2 to @champion by Ada" in line for line in found), found
    refused(promoted)
    problems = sync(promoted.workspace).problems
    assert any(f"the database and {HISTORY} disagree" in problem for problem in problems), problems


def test_every_statement_deleted(promoted):
    attack(promoted, "DELETE FROM statements")
    assert "knows a history that this database lacks" in first(promoted)
    refused(promoted)


NOTHING = ("", "x", "[]", '{"kind": "promotion"}', '{"kind": "start", "promotions": "1"}', "[" * 10**5)


@pytest.mark.parametrize("body", NOTHING)
def test_a_statement_that_says_nothing(promoted, body):
    attack(promoted, f"UPDATE statements SET body = '{body}' WHERE id = (SELECT max(id) FROM statements)")
    assert "its signature by key" in first(promoted)
    refused(promoted)


def test_a_statement_that_no_key_signed_comes_into_no_history(promoted):
    before = promoted.git("rev-parse", HISTORY)
    attack(promoted, "INSERT INTO statements (kind, body, key_id, signature) VALUES ('promotion', '{}', 'k', 'c2ln')")
    assert any("no trusted key signed" in problem for problem in sync(promoted.workspace).problems)
    assert promoted.git("rev-parse", HISTORY) == before
    assert not audit(promoted.workspace).sound
    refused(promoted)


def test_an_entry_of_the_history_in_git_that_says_nothing(promoted):
    tree = promoted.git("rev-parse", f"{HISTORY}^{{tree}}")
    commit = promoted.git("commit-tree", tree, "-p", HISTORY, "-m", "[" * 10**5)
    promoted.git("update-ref", HISTORY, commit)
    refused(promoted)
    assert first(promoted).startswith(f"anchor: {HISTORY}: an entry of it")


def test_signatures_of_versions_deleted(promoted):
    attack(promoted, "DELETE FROM signatures")
    assert first(promoted).startswith("signature: base:1: it was promoted, which signs it, and it has no signature")


def test_metrics_raised(promoted):
    attack(promoted, "UPDATE metrics SET value = 0.99 WHERE name = 'accuracy' AND value = 0.8")
    found = [f"{finding.subject}: {finding.detail}" for finding in audit(promoted.workspace).broken]
    assert "promotion 1 (base@champion): the metrics it rests on were changed: evaluate@base.accuracy" in found[0]
    assert "value 0.99, signed 0.8" in found[0]
    assert any(line.startswith("base:1, key") and "value of evaluate@base.accuracy" in line for line in found), found
    assert any("metric accuracy: value 0.99 instead of 0.8" in line for line in found), found
    outcome = promote(promoted.workspace, "base:1", "candidate", "it scores so well", "Ada")
    assert outcome.action == "reject"


def test_other_bytes_given_out_for_what_a_stage_wrote(promoted):
    model = "SELECT artifact_id FROM events WHERE direction = 'OUTPUT' AND name = 'model'"
    attack(promoted, f"UPDATE events SET artifact_id = ({model}) WHERE direction = 'OUTPUT' AND name = 'report'")
    found = [finding.detail for finding in audit(promoted.workspace).broken if finding.part == "receipt"]
    assert found and all("output report is " in detail and "the receipt says" in detail for detail in found), found


@pytest.mark.parametrize(
    ("column", "value"), [("parameters", "'{\"quality\": 1}'"), ("git_commit", "'cafe'"), ("seed", "2")]
)
def test_how_a_signed_version_was_made_edited(promoted, column, value):
    attack(promoted, f"UPDATE executions SET {column} = {value} WHERE stage = 'pretrain'")
    broken = audit(promoted.workspace).broken
    assert {"signature", "receipt"} <= {finding.part for finding in broken}
    assert any(f"{column} is" in finding.detail for finding in broken if finding.part == "receipt")


def test_an_edited_receipt_that_dvc_took_in(two_versions):
    """Its metric is raised and its start is new, so that it counts as a measurement of its own."""
    project = two_versions
    path = project.root / "receipts" / "evaluate-base.json"
    whole = json.loads(path.read_text())
    whole["metrics"][0]["value"], whole["started"] = 0.999, whole["started"] + 60
    stripped = {name: value for name, value in whole.items() if name != "signature"}
    for body in (whole, stripped):
        path.write_text(json.dumps(body))
        project.dvc("commit", "-f", "-q", "evaluate@base")
        problems = " ".join(sync(project.workspace, update_mlflow=False).problems)
        assert "edited after it was signed" in problems or "not signed by a key that is trusted here" in problems
        assert any(finding.part == "receipt" for finding in audit(project.workspace).broken)
    assert promote(project.workspace, "base:2", "champion", "it scores so well", "Ada").action == "reject"


def test_a_registry_deleted_is_missed(promoted):
    for path in promoted.workspace.home.glob("registry.db*"):
        path.unlink()
    assert any("knows a history that this database lacks" in problem for problem in sync(promoted.workspace).problems)
    found = [f"{finding.subject}: {finding.detail}" for finding in audit(promoted.workspace).broken]
    assert "stemma backup restore" in found[0] and "A lost registry" in found[0]
    assert any(line.startswith("promote base:2 to @champion by Ada") for line in found)
    with pytest.raises(UnsoundHistory):
        promote(promoted.workspace, "base", "champion", "again", "Ada")
    # Also where the repository forgot it: MLflow did not.
    promoted.git("update-ref", "refs/stemma/lost/1", HISTORY)
    promoted.git("update-ref", "-d", HISTORY)
    assert any("MLflow shows it" in finding.detail for finding in audit(promoted.workspace).broken)

    # All but the promotions comes back from the snapshots, as docs/lineage.md says.
    for path in promoted.workspace.home.glob("registry.db*"):
        path.unlink()
    for run in ("first", "second"):
        tree = promoted.root.parent / run
        promoted.git("worktree", "add", "-q", "--detach", str(tree), f"refs/stemma/runs/{run}")
        report = sync(Workspace.find(tree), update_mlflow=False)
        assert report.problems == [] and report.versions == [f"base:{1 if run == 'first' else 2}"]
    assert promote(promoted.workspace, "base:2", "champion", "it was champion", "Ada").action == "promote"
    assert audit(promoted.workspace).sound


def test_rejections_and_rollbacks_are_signed_too(promoted):
    with pytest.raises(PromotionRefused):
        rollback(promoted.workspace, "base", " ", "Bob")
    rollback(promoted.workspace, "base", "it answers too long", "Bob")
    attack(promoted, "UPDATE statements SET body = replace(body, 'Bob', 'Eve')")
    assert "promotion 3 (base@champion): its signature by key" in first(promoted)
