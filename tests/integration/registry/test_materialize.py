"""A version's files come from the cache, the workspace or the remote, verified; else the error says where to look."""

from __future__ import annotations

import shutil

import pytest

import registry.store.materialize
from registry.db.database import open as open_registry
from registry.db.references import resolve
from registry.errors import InvalidBytes, MissingBytes
from registry.lineage.sync import sync
from registry.promotion.promote import promote
from registry.store.collection import collect
from registry.store.manifests import digest_of
from registry.store.materialize import materialize
from registry.store.run_locks import InUse

pytestmark = pytest.mark.parametrize("registry_url", ["sqlite"], indirect=True)


@pytest.fixture
def synced(project):
    sync(project.workspace, run="first")
    return project


def digest(project, reference: str) -> str:
    with open_registry(project.workspace.registry_url) as opened, opened.read() as session:
        return resolve(session, reference).artifact.digest


def test_an_old_version_from_the_cache(synced):
    synced.set("quality: 0.8", "quality: 0.9")
    synced.repro("second")
    sync(synced.workspace, run="second")
    shutil.rmtree(synced.root / "models")
    folder = materialize(synced.workspace, "base:1")
    assert folder.name == digest(synced, "base:1") == digest_of(folder)
    assert sorted(path.name for path in folder.iterdir()) == [
        "config.json",
        "model.safetensors",
        "tokenizer.json",
        "tokenizer_config.json",
        "training.json",
    ]
    assert digest_of(materialize(synced.workspace, "base:2")) == digest(synced, "base:2")
    assert materialize(synced.workspace, "base:1") == folder


def test_no_collection_takes_away_what_is_being_copied(synced, monkeypatch):
    source = registry.store.materialize._from_cache

    def beside_a_collection(*arguments):
        with pytest.raises(InUse):
            collect(synced.workspace, delete=True)
        return source(*arguments)

    monkeypatch.setattr(registry.store.materialize, "_from_cache", beside_a_collection)
    materialize(synced.workspace, "base:1")


def test_from_the_workspace_when_the_cache_is_gone(synced):
    shutil.rmtree(synced.root / ".dvc" / "cache")
    assert digest_of(materialize(synced.workspace, "base")) == digest(synced, "base")


def test_from_the_remote_when_everything_else_is_gone(project):
    remote = project.root.parent / "remote"
    project.dvc("remote", "add", "-q", "-d", "store", str(remote))
    project.dvc("push", "-q")
    sync(project.workspace, run="first")
    shutil.rmtree(project.root / ".dvc" / "cache")
    shutil.rmtree(project.root / "models")
    assert digest_of(materialize(project.workspace, "base")) == digest(project, "base")


def test_nowhere(synced):
    shutil.rmtree(synced.root / ".dvc" / "cache")
    shutil.rmtree(synced.root / "models")
    with pytest.raises(MissingBytes) as missing:
        materialize(synced.workspace, "base")
    for told in ("models/base", "DVC's cache", "the workspace", "DVC's remote", "dvc pull"):
        assert told in str(missing.value)
    with pytest.raises(MissingBytes):
        promote(synced.workspace, "base", "champion", "why", "Ada", force=True)


def test_a_damaged_cache_is_not_trusted(synced):
    shutil.rmtree(synced.root / "models")
    name = digest(synced, "base")
    manifest = synced.root / ".dvc" / "cache" / "files" / "md5" / name[:2] / name[2:]
    import json

    entry = next(entry for entry in json.loads(manifest.read_text()) if entry["relpath"] == "model.safetensors")
    file = manifest.parents[1] / entry["md5"][:2] / entry["md5"][2:]
    file.chmod(0o644)
    content = bytearray(file.read_bytes())
    content[-1] ^= 1
    file.write_bytes(content)
    with pytest.raises(InvalidBytes, match="DVC's cache: damaged"):
        materialize(synced.workspace, "base")


def test_a_manifest_with_a_name_outside_its_folder_writes_nothing(synced):
    """The attacker's key would be trusted, and a library beside the models would run in every engine."""
    import json

    shutil.rmtree(synced.root / "models")
    name = digest(synced, "base")
    manifest = synced.root / ".dvc" / "cache" / "files" / "md5" / name[:2] / name[2:]
    entries = json.loads(manifest.read_text())
    manifest.chmod(0o644)
    for evil in ("../../../keys/trusted/friend.pem", "../../torch.py", str(synced.root / "torch.py")):
        manifest.write_text(json.dumps([*entries, {**entries[0], "relpath": evil}]))
        with pytest.raises(InvalidBytes, match="its md5 is not its name"):
            materialize(synced.workspace, "base")
    written = [path.name for path in (synced.root, synced.workspace.home) for path in path.rglob("*.p[ey]*")]
    assert "friend.pem" not in written and "torch.py" not in written
    assert list((synced.workspace.home / "models").iterdir()) == []


def test_a_link_among_a_version_s_files_is_no_file_of_it(synced):
    folder = materialize(synced.workspace, "base")
    elsewhere = synced.root / "elsewhere"
    (folder / "config.json").rename(elsewhere)
    (folder / "config.json").symlink_to(elsewhere)
    with pytest.raises(InvalidBytes, match=r"config.json is a link"):
        materialize(synced.workspace, "base")
