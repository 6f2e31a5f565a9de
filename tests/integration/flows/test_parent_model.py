"""Pretraining on from a registered model, a folder, or the hub: `pretrain.init`, `models/parent` and the lineage."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path

import pytest

from components.pretrain.parent import read_pointer
from core.workspace import Workspace
from flows.pipeline.prepare import Request, prepare
from registry.db.database import open as open_registry
from registry.db.references import resolve
from registry.lineage.impact import impact
from registry.lineage.trace import ArtifactNode, trace
from registry.store.collection import collect
from registry.store.manifests import digest_of
from registry.store.run_locks import InUse
from tests.integration.flows.test_run import states
from tests.tiny_decoder import save
from tests.workspace import make_workspace

CHAMPION = "pretrain.init=registry:assistant@champion"


def asked(workspace, question, *arguments):
    """What the registry of a workspace answers."""
    with open_registry(Workspace.find(workspace.root).registry_url) as registry, registry.read() as session:
        return question(session, *arguments)


def digest(workspace, name: str) -> str:
    return asked(workspace, lambda session: resolve(session, name).artifact.digest)


def read_by(node: ArtifactNode) -> dict[str, ArtifactNode]:
    """What the execution that made an artifact read, by role."""
    return dict(node.made_by.inputs)


@pytest.mark.nightly  # three runs; tests/integration/retrain goes on from a champion
def test_generations_that_go_on_from_the_champion(workspace, tmp_path):
    first = digest(workspace, "assistant:1")
    text = workspace.stemma("run", "--until", "pretrain", "--set", CHAMPION)
    assert "models/parent: assistant:1 (registry:assistant@champion), 4 files; commit models/parent.dvc" in text
    assert states(text) == {"curate": "cached", "pretrain": "run"}
    pointer = read_pointer(workspace.root)
    assert (pointer.source, pointer.kept, pointer.digest) == ("assistant:1", first, first)
    assert digest_of(workspace.root / "models/parent") == first, "the parent's own bytes, to the last"

    text = workspace.stemma("run", "--until", "pretrain")
    assert set(states(text).values()) == {"cached"} and "models/parent" not in text

    # The whole of it makes another champion, whose base goes on from the champion of before.
    text = workspace.stemma("run", "--set", "preference_tune.beta=0.3")
    assert "assistant:2 is now assistant@champion" in " ".join(text.split())
    text = workspace.stemma("run", "--until", "pretrain")
    assert "models/parent: assistant:2 (registry:assistant@champion), 4 files, before: assistant:1" in text
    assert states(text) == {"curate": "cached", "pretrain": "run"}

    root = asked(workspace, trace, "base:3").root
    parent = read_by(root)["parent"]
    grandparent = read_by(read_by(parent)["base"])["parent"]
    assert [node.model for node in (root, parent, grandparent)] == ["base:3", "assistant:2", "assistant:1"]
    assert "parent" not in read_by(read_by(grandparent)["base"]), "base:1 began from scratch"
    assert all(node.complete for node in asked(workspace, trace, "base:3").artifacts())
    found = asked(workspace, impact, Workspace.find(workspace.root), "assistant:1")
    assert {str(version) for version in found.versions} >= {"base:2", "assistant:2", "base:3"}
    told = workspace.stemma("cost", "base:3", "--json")
    assert json.dumps(json.loads(told)).count('"pretrain"') >= 3, "every generation's training is counted"
    assert "pretrain.parent" in workspace.stemma("diff", "base:2", "base:3", "--json")
    tree = workspace.stemma("trace", "base:3")
    assert "assistant:2" in tree and "assistant:1" in tree and "not known" not in tree

    workspace.stemma("restore", "base:2", str(tmp_path / "second"))
    assert digest_of(tmp_path / "second/models/parent") == first
    assert read_pointer(tmp_path / "second").source == "assistant:1"
    workspace.stemma("restore", "base:1", str(tmp_path / "first"))
    assert list((tmp_path / "first/models/parent").iterdir()) == [], "an empty folder is no parent"

    workspace.run_shell("git", "checkout", "-q", "params.yaml")
    text = workspace.stemma("stage", "pretrain")
    assert "models/parent: emptied, since pretrain.init is scratch; assistant:2 stays in DVC's cache" in text
    assert digest_of(workspace.root / "models/base") == digest(workspace, "base:1")


def test_an_isolated_run_goes_on_from_a_version_and_leaves_the_tree_as_it_was(workspace):
    before = workspace.tree()
    init = "pretrain.init=registry:base:1"
    text = workspace.stemma("run", "--isolated", "--name", "on", "--until", "pretrain", "--set", init, code=1)
    assert "base:1 is not signed; promoting it signs it: stemma promote base:1" in text
    init = "pretrain.init=registry:assistant:1"
    text = workspace.stemma("run", "--isolated", "--name", "on", "--until", "pretrain", "--set", init)
    assert "models/parent: assistant:1 (registry:assistant:1), 4 files" in text
    assert workspace.tree() == before and not any((workspace.root / "models/parent").iterdir())
    kept = workspace.run_shell("git", "show", "refs/stemma/runs/on:models/parent.dvc")
    assert "source: assistant:1" in kept and digest(workspace, "assistant:1") in kept
    assert read_by(asked(workspace, trace, "base:2").root)["parent"].model == "assistant:1"


def test_no_collection_takes_a_parent_before_it_is_in_the_tree(workspace):
    place, said = Workspace.find(workspace.root), []

    def say(line: str) -> None:
        said.append(line)
        with pytest.raises(InUse):
            collect(place, keep_runs=0, delete=True)

    prepare(place, Request({"pretrain.init": "registry:assistant:1"}, "pretrain"), say)
    assert said[0].startswith("models/parent: assistant:1")


def test_what_is_no_parent_is_refused_and_nothing_is_changed(workspace):
    told = workspace.stemma(
        "run", "--set", "pretrain.init=registry:assistent@champion", "--set", "pretrain.steps=-1", code=2
    )
    assert "--set pretrain.init: there is no model 'assistent'; known: assistant, base" in told
    assert "--set pretrain.steps" in told, "every problem at once"
    told = workspace.stemma("run", "--set", "pretrain.init=registry:assistant", code=2)
    assert "--set pretrain.init: write registry:MODEL@ALIAS or registry:MODEL:VERSION" in told
    told = workspace.stemma("run", "--set", "pretrain.init=../nowhere/at-all", code=2)
    assert "--set pretrain.init: ../nowhere/at-all is no folder here, and no hub id (owner/name)" in told

    model = digest(workspace, "assistant:1")
    copy = workspace.home / "models" / model / "model.safetensors"
    damage(copy)
    told = workspace.stemma("run", "--set", CHAMPION, code=1)
    assert f"{copy.parent} was altered: its digest is" in told
    assert "pretrain.init: registry:assistant@champion is not gone on from; nothing was changed" in told
    shutil.rmtree(copy.parent)
    shutil.rmtree(workspace.root / "models/assistant")
    cache = workspace.root / ".dvc/cache/files/md5"
    files = {entry["relpath"]: entry["md5"] for entry in json.loads((cache / model[:2] / model[2:]).read_text())}
    weights = files["model.safetensors"]
    damage(cache / weights[:2] / weights[2:])
    before = workspace.tree()
    # DVC removes a damaged object when it meets one, so it may be damaged or missing by then.
    told = workspace.stemma("run", "--set", CHAMPION, code=1)
    assert f"the files of models/assistant (md5 {model}) were not found" in told
    assert workspace.tree() == before


def damage(path: Path) -> None:
    path.chmod(0o644)
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)


def test_a_folder_of_one_s_own_is_followed_by_its_bytes(workspace, tmp_path):
    save(workspace.root.parent / "mine", 2.0)
    (workspace.root.parent / "mine/notes.md").write_text("not a part of the model")
    params = workspace.root / "params.yaml"
    params.write_text(params.read_text().replace("pretrain: {}", "pretrain: {init: ../mine}"))
    assert "models/parent: ../mine, 4 files; commit" in workspace.stemma("init")
    assert not (workspace.root / "models/parent/notes.md").exists()
    workspace.stemma("stage", "pretrain")
    parent = read_by(asked(workspace, trace, "base:2").root)["parent"]
    assert (parent.origin, parent.complete, parent.made_by) == ("../mine", True, None)

    save(workspace.root.parent / "mine", 3.0)
    assert "models/parent: ../mine, 4 files" in workspace.stemma("stage", "pretrain")
    assert digest(workspace, "base:3") != digest(workspace, "base:2")

    (workspace.root / "models/parent/model.safetensors").unlink()
    (workspace.root / "models/parent/mine.txt").write_text("put here by hand")
    told = workspace.stemma("run", "--until", "pretrain", "--set", "pretrain.init=scratch", code=2)
    assert "models/parent: holds files that pretrain.init did not bring; move them" in told
    assert (workspace.root / "models/parent/mine.txt").exists() and "init: ../mine" in params.read_text()


def test_a_hub_id_is_downloaded_once_and_its_revision_recorded(workspace, tmp_path, monkeypatch):
    """From the hub's cache on this machine, asked to stay offline: the same call without the network."""
    commit = "5f0b02c75b57c5855da9ae460ce51323ea669d8a"
    repository = tmp_path / "hub" / "models--someone--tiny"
    save(repository / "snapshots" / commit, 2.0)
    (repository / "refs").mkdir()
    (repository / "refs/main").write_text(commit)
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    params = workspace.root / "params.yaml"
    params.write_text(params.read_text().replace("pretrain: {}", "pretrain: {init: someone/tiny}"))
    assert f"models/parent: someone/tiny@{commit} (someone/tiny), 4 files" in workspace.stemma("init")
    shutil.rmtree(tmp_path / "hub")
    assert "models/parent" not in workspace.stemma("init"), "it is here; the hub is not asked again"
    shutil.rmtree(workspace.root / "models/parent")
    assert f"models/parent: someone/tiny@{commit}" in workspace.stemma("init"), "from DVC's cache"
    told = workspace.stemma("run", "--set", "pretrain.init=someone/other", code=2)
    assert "pretrain.init: someone/other is no folder here, and cannot be had from the hub" in told


@pytest.fixture(scope="module")
def real(tmp_path_factory):
    """A workspace with the real stages, in which nothing ran; its inputs are there for DVC's sake."""
    workspace = make_workspace(tmp_path_factory.mktemp("real") / "workspace")
    for folder in ("data/tokens", "models/tokenizer"):
        (workspace.root / folder).mkdir(parents=True)
        (workspace.root / folder / "index.json").write_text("{}")
    return workspace


def test_a_stage_started_by_hand_refuses_a_parent_that_is_not_the_one(real):
    def refused(*command: str | Path, code: int) -> str:
        done = real.run(*command, check=False)
        assert done.returncode == code, done.stderr
        return " ".join((done.stdout + done.stderr).split())

    stage = (sys.executable, "-m", "components", "pretrain")
    params = real.root / "params.yaml"
    params.write_text(params.read_text().replace("init: scratch", "init: ../mine"))
    for command, code in ((stage, 2), ((real.tool("dvc"), "repro", "--single-item", "pretrain"), 255)):
        told = refused(*command, code=code)
        assert "pretrain.init: ../mine is not in models/parent yet, which is empty; `stemma init`" in told
    save(real.root.parent / "mine", 2.0)
    real.run(sys.executable, "-m", "cli", "init")
    params.write_text(params.read_text().replace("init: ../mine", "init: registry:base@champion"))
    told = refused(*stage, code=2)
    assert "pretrain.init: is registry:base@champion, but models/parent holds ../mine (../mine); `stemma init`" in told
    params.write_text(params.read_text().replace("init: registry:base@champion", "init: ../mine"))
    (real.root / "models/parent/config.json").write_text("{}")
    assert "pretrain.init: models/parent was altered since ../mine (../mine) was brought" in refused(*stage, code=2)
    params.write_text(params.read_text().replace("init: ../mine", "init: scratch"))
    assert "pretrain.init: is scratch, but models/parent still holds ../mine; `stemma init`" in refused(*stage, code=2)
