"""An audit finds what was altered, names it, and tells it apart from what is only not here."""

from __future__ import annotations

import json
import shutil
import socket

import pytest
from sqlalchemy import text

import registry.integrity.audit
from registry.db.database import open as open_registry
from registry.db.references import resolve
from registry.errors import InvalidBytes, PromotionRefused, UnsoundHistory
from registry.integrity.audit import audit
from registry.integrity.verification import verify
from registry.lineage.sync import sync
from registry.promotion.promote import promote
from registry.promotion.rollback import rollback


def edit(project, *statements: str) -> None:
    """Change the promotions by hand, their triggers dropped."""
    with open_registry(project.workspace.registry_url) as opened, opened.engine.begin() as connection:
        if opened.engine.dialect.name == "postgresql":
            connection.execute(text("DROP TRIGGER promotions_append_only ON promotions"))
        else:
            for verb in ("update", "delete"):
                connection.execute(text(f"DROP TRIGGER promotions_no_{verb}"))
        for statement in statements:
            connection.execute(text(statement))


def cached(project, reference: str, name: str):
    """A version's file in DVC's cache."""
    with open_registry(project.workspace.registry_url) as opened, opened.read() as session:
        digest = resolve(session, reference).artifact.digest
    cache = project.root / ".dvc" / "cache" / "files" / "md5"
    entries = json.loads((cache / digest[:2] / digest[2:]).read_bytes())
    (found,) = [entry["md5"] for entry in entries if entry["relpath"] == name]
    return cache / found[:2] / found[2:]


def flip(path) -> None:
    path.chmod(0o644)
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)


def test_a_row_edited_by_hand_is_named_with_what_differs(promoted):
    report = audit(promoted.workspace)
    assert report.sound and (report.promotions, report.signatures, report.aliases) == (2, 2, 1), report.findings
    assert report.artifacts == 6 and report.bytes > 0
    edit(promoted, "UPDATE promotions SET actor = 'Eve', reason = 'mine' WHERE id = 2")
    first = audit(promoted.workspace).broken[0]
    assert (first.part, first.subject) == ("chain", "promotion 2 (base@champion)")
    assert "actor is 'Eve', the verdict says 'Ada'; reason is 'mine', the verdict says 'better'" in first.detail


@pytest.mark.parametrize("registry_url", ["sqlite"], indirect=True)
def test_a_row_deleted_at_either_end(promoted):
    cut = ("alias_mirrors", "statements WHERE promotion_id = 2", "promotions WHERE id = 2")
    edit(promoted, *(f"DELETE FROM {where}" for where in cut))
    assert "its row was deleted" in audit(promoted.workspace).broken[0].detail
    with open_registry(promoted.workspace.registry_url) as opened, opened.engine.begin() as connection:
        connection.execute(text("DELETE FROM statements WHERE promotion_id IS NOT NULL"))
        connection.execute(text("DELETE FROM promotions"))
    with pytest.raises(UnsoundHistory, match="knows a history that this database lacks"):
        promote(promoted.workspace, "base:1", "champion", "again", "Ada")
    assert any(finding.part == "chain" for finding in audit(promoted.workspace).broken)


@pytest.mark.parametrize("registry_url", ["sqlite"], indirect=True)
def test_a_byte_flipped_in_a_model(promoted):
    """In the copy that is loaded, and in DVC's cache when there is no other copy."""
    workspace = promoted.workspace
    with open_registry(workspace.registry_url) as opened, opened.read() as session:
        digest = resolve(session, "base:2").artifact.digest
    copy = workspace.home / "models" / digest
    flip(copy / "model.safetensors")
    for refusing in (
        lambda: verify(workspace, "base@champion"),
        lambda: promote(workspace, "base:2", "candidate", "why", "Ada"),
    ):
        with pytest.raises(InvalidBytes, match="was altered"):
            refusing()
    (first, *_) = audit(workspace).broken
    assert first.subject.startswith("base:2 (md5") and "was altered" in first.detail

    shutil.rmtree(copy)
    assert audit(workspace).sound
    flip(cached(promoted, "base:2", "model.safetensors"))
    shutil.rmtree(promoted.root / "models")
    with pytest.raises(InvalidBytes, match="damaged"):
        verify(workspace, "base@champion")
    broken = audit(workspace).broken
    assert broken[0].part == "bytes" and "model.safetensors is damaged in DVC's cache" in broken[0].detail
    assert broken[1].part == "signature"
    with pytest.raises(PromotionRefused, match="cannot be restored"):
        rollback(workspace, "base", "first back", "Ada", to_version=1) and rollback(
            workspace, "base", "second back", "Ada", to_version=2
        )


@pytest.mark.parametrize("registry_url", ["sqlite"], indirect=True)
def test_missing_is_not_wrong(promoted):
    cached(promoted, "base:1", "model.safetensors").unlink()
    report = audit(promoted.workspace)
    assert report.sound and {finding.state for finding in report.findings} == {"missing"}
    assert any(finding.subject.startswith("base:1 (md5") for finding in report.findings)


@pytest.mark.parametrize("registry_url", ["sqlite"], indirect=True)
def test_a_signature_or_verdict_replaced(promoted):
    workspace = promoted.workspace
    with open_registry(workspace.registry_url) as opened, opened.engine.begin() as connection:
        connection.execute(text("UPDATE signatures SET bundle = (SELECT bundle FROM signatures WHERE version_id = 1)"))
    (first, *_) = audit(workspace).broken
    assert first.part == "signature" and first.subject.startswith("base:2, key") and "does not hold" in first.detail
    (gate, *_) = workspace.home.glob("gates/*.json")
    gate.write_text(gate.read_text().replace("true", "false"))
    assert next(finding.part for finding in audit(workspace).broken) == "verdict"


@pytest.mark.parametrize("registry_url", ["sqlite"], indirect=True)  # what MLflow shows does not hang on the database
def test_mlflow_down_moved_and_repaired(two_versions, monkeypatch):
    from mlflow import MlflowClient

    workspace = two_versions.workspace
    promote(workspace, "base:1", "champion", "the first", "Ada")
    with socket.socket() as hung:  # accepts, and never answers
        hung.bind(("127.0.0.1", 0))
        hung.listen()
        monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://127.0.0.1:{hung.getsockname()[1]}")
        outcome = promote(workspace, "base:2", "champion", "better", "Ada")
        assert outcome.action == "promote" and outcome.mirror.error
        report = audit(workspace)
        assert {(finding.part, finding.state) for finding in report.findings} == {
            ("mirror", "behind"),
            ("mirror", "unchecked"),
        }
        assert not report.sound and "`stemma sync` sets it" in report.broken[0].detail
    monkeypatch.delenv("MLFLOW_TRACKING_URI")
    assert not audit(workspace).sound
    sync(workspace)
    assert audit(workspace).findings == []
    shown = registry.integrity.audit._shown

    def after_a_decision(of):
        promote(of, "base:1", "champion", "meanwhile", "Ada", force=True)
        promote(of, "base:2", "candidate", "meanwhile", "Ada")
        return shown(of)

    with monkeypatch.context() as patched:
        patched.setattr(registry.integrity.audit, "_shown", after_a_decision)
        assert audit(workspace).broken == []
    assert audit(workspace).findings == []
    promote(workspace, "base:2", "champion", "better", "Ada")

    client = MlflowClient(f"sqlite:///{workspace.home}/mlflow.db")
    client.set_registered_model_alias("base", "champion", "1")
    client.set_registered_model_alias("base", "best", "1")
    moved, unknown = audit(workspace).broken
    assert moved.subject == "base@champion" and "the registry says base:2; `stemma sync` sets it back" in moved.detail
    assert unknown.subject == "base@best" and "no version was promoted" in unknown.detail
    client.delete_registered_model_alias("base", "best")
    sync(workspace)
    assert audit(workspace).sound
    assert client.get_model_version_by_alias("base", "champion").tags["stemma.version"] == "2"
