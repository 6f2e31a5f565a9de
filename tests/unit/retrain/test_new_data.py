"""What counts as known: the lineage of the champion, of what was judged beside it, and of what awaits approval."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass

import pytest

from core.errors import InputProblem
from core.workspace import Workspace
from flows.retraining import new_data, queue
from flows.retraining.parameters import RetrainParameters
from registry.db.database import Registry
from registry.db.database import open as open_registry
from registry.db.references import resolve
from registry.db.schema import GENESIS, Promotion
from registry.lineage.receipts import Bytes, Receipt, StageRecord
from registry.lineage.recording import record_artifact, record_execution

VALUES = {"curate": {"sources": [{"type": "files", "paths": ["data/raw/*.jsonl"]}]}}
RULES = RetrainParameters()


@dataclass
class Past:
    """A workspace and what its registry is made to remember."""

    workspace: Workspace
    registry: Registry

    def write(self, name: str, rows: int) -> None:
        lines = [json.dumps({"text": f"{name} {row}"}) for row in range(rows)]
        (self.workspace.root / "data/raw" / name).write_text("\n".join(lines))

    def made(self, version: str, *names: str, sources=()) -> None:
        """A version of `base` that was made of those files of data/raw."""
        raw = self.workspace.root / "data/raw"
        entries = [{"md5": hashlib.md5((raw / n).read_bytes()).hexdigest(), "relpath": n} for n in sorted(names)]
        manifest = json.dumps(entries, sort_keys=True).encode()
        digest = hashlib.md5(manifest).hexdigest()
        kept = self.workspace.root / ".dvc/cache/files/md5" / digest[:2] / f"{digest[2:]}.dir"
        kept.parent.mkdir(parents=True, exist_ok=True)
        kept.write_bytes(manifest)
        corpus = f"corpus of {version}"
        self._execute("curate", ("raw", "data/raw", f"{digest}.dir"), ("dataset", "data/corpus", corpus), sources)
        self._execute("pretrain", ("dataset", "data/corpus", corpus), ("model", "models/base", version))
        with self.registry.read() as session:
            assert str(resolve(session, "base")) == version

    def judged(self, version: str, action: str) -> None:
        with self.registry.write() as session:
            made = resolve(session, version)
            gate = record_artifact(session, _bytes("gate", "gates/x.json", "verdict"))
            standing = session.query(Promotion).order_by(Promotion.id.desc()).first()
            session.add(
                Promotion(
                    model_id=made.model_id, alias="champion", to_version_id=made.id, action=action, forced=False,
                    passed=action == "promote", gate_artifact_id=gate.id, actor="Ada", reason="because", time="now",
                    previous_hash=standing.hash if standing else GENESIS, hash=f"hash of {version} {action}",
                )
            )  # fmt: skip

    def found(self, values=VALUES, rules: RetrainParameters = RULES) -> new_data.NewData:
        return new_data.find(self.workspace, values, rules)

    def _execute(self, stage: str, read, made, sources=()) -> None:
        body = {
            "schema": 1, "stage": stage, "component": {"name": stage, "version": "1", "code_digest": "c"},
            "fingerprint": f"{stage} {made}", "started": 1.0, "parameters": {"sources": list(sources)},
        }  # fmt: skip
        output = _bytes(*made, registered="base" if made[0] == "model" else None)
        with self.registry.write() as session:
            record_execution(session, StageRecord(stage, Receipt.model_validate(body), (_bytes(*read),), (output,)))


def _bytes(kind: str, path: str, digest: str, registered: str | None = None) -> Bytes:
    return Bytes(kind, path, kind, kind, "md5", digest, 1, None, registered)


@pytest.fixture
def past(tmp_path, monkeypatch):
    monkeypatch.delenv("STEMMA_REGISTRY_URL", raising=False)
    root = tmp_path / "workspace"
    (root / "data" / "raw").mkdir(parents=True)
    (root / "params.yaml").write_text("promotion: {base: {loss: {max: 1}}}\n")
    workspace = Workspace(root, tmp_path / "home")
    workspace.home.mkdir()
    # Where DVC would say that it is; asking it takes a second each time.
    monkeypatch.setattr("core.dvc.cache_folder", lambda _: root / ".dvc" / "cache")
    with open_registry(workspace.registry_url) as registry:
        yield Past(workspace, registry)


def test_what_was_judged_or_asked_about_is_not_new_again(past):
    past.write("a.jsonl", 3)
    past.made("base:1", "a.jsonl")
    past.judged("base:1", "promote")
    assert not past.found().new
    past.write("b.jsonl", 4)
    found = past.found()
    assert [file.name for file in found.new] == ["b.jsonl"] and (found.documents, found.enough) == (4, True)
    assert not past.found(rules=RetrainParameters(minimum_documents=5)).enough
    past.made("base:2", "a.jsonl", "b.jsonl")
    assert past.found().enough  # killed before it was judged: goes on
    past.judged("base:2", "reject")
    assert not past.found().new and past.found().champion == "base:1"
    past.write("c.jsonl", 5)
    past.made("base:3", "a.jsonl", "b.jsonl", "c.jsonl")
    assert past.found().documents == 5
    queue.add_pending(past.workspace.home, ["base:3"])
    queue.add_pending(past.workspace.home, ["assistant:9", "base:3"])
    assert queue.pending(past.workspace.home) == ["assistant:9", "base:3"]
    assert not past.found().new


def test_files_that_no_source_reads_are_named_where_nothing_is_new(past):
    past.write("a.jsonl", 3)
    past.made("base:1", "a.jsonl")
    past.judged("base:1", "promote")
    assert str(past.found()) == "nothing new: all raw data went into base:1"
    past.write("notes.txt", 2)
    found = past.found()
    assert not found.new
    assert str(found) == ("nothing new: notes.txt: read by no source of curate; all other raw data went into base:1")


def test_a_changed_file_counts_by_its_new_rows(past):
    past.write("a.jsonl", 3)
    past.made("base:1", "a.jsonl")
    past.judged("base:1", "promote")
    old = (past.workspace.root / "data/raw/a.jsonl").read_bytes()
    md5 = hashlib.md5(old).hexdigest()
    kept = past.workspace.root / ".dvc/cache/files/md5" / md5[:2] / md5[2:]
    kept.parent.mkdir(parents=True, exist_ok=True)
    kept.write_bytes(old)
    past.write("a.jsonl", 10)
    assert past.found().documents == 7


def test_another_revision_of_the_hub_is_new_data(past):
    source = {"type": "huggingface", "id": "owner/name", "revision": "aaa"}
    past.made("base:1", sources=[{**source, "split": "train"}])
    past.judged("base:1", "promote")
    same = {"curate": {"sources": [source]}}
    assert not past.found(same).enough
    found = past.found({"curate": {"sources": [{**source, "revision": "bbb"}]}})
    assert found.enough and "the dataset owner/name at revision bbb" in str(found)


def test_every_reason_not_to_look_is_told_at_once(past, tmp_path):
    (tmp_path / "incoming").mkdir()
    (tmp_path / "incoming" / "x.txt").write_text("x")
    (past.workspace.root / "params.yaml").write_text("promotion: {}\n")
    sources = [{"path": str(tmp_path / "incoming"), "into": "in"}]
    with pytest.raises(InputProblem) as problem:
        past.found(rules=RetrainParameters.model_validate({"sources": sources}))
    rules, champion, unread = problem.value.problems
    assert "base has no rules in the section promotion" in rules
    assert "retrain.model: there is no model 'base'" in champion
    assert "what goes into data/raw/in (such as in/x.txt) is read by no source of curate" in unread


def test_fine_tuning_does_not_make_a_new_decoder(past):
    past.made("base:1")
    past.judged("base:1", "promote")
    with pytest.raises(InputProblem, match="with start: finetune, base stays as it is"):
        past.found(rules=RetrainParameters(start="finetune"))
