"""A corpus is found by a folder, a run, a git revision; its bytes are read where DVC keeps them."""

import hashlib
import json
import subprocess

import pytest

from core.workspace import Workspace
from registry.errors import MissingBytes, UnknownReference
from registry.store.corpora import find_corpus

SHARD = "train-00000-of-00001.parquet"


@pytest.fixture
def workspace(tmp_path):
    """Two commits with corpora, whose bytes are in DVC's cache; the second one is a run's too."""
    root = tmp_path / "workspace"
    (root / ".dvc").mkdir(parents=True)
    (root / "dvc.yaml").write_text("stages: {}\n")
    workspace = Workspace(root, tmp_path / "home")
    workspace.home.mkdir()
    git(root, "init", "-q", "-b", "main")
    for content in (b"first", b"second"):
        md5 = keep(root, content)
        manifest = json.dumps([{"md5": md5, "relpath": SHARD}]).encode()
        digest = keep(root, manifest, ".dir")
        out = f"    - {{path: data/corpus, hash: md5, md5: {digest}}}\n"
        (root / "dvc.lock").write_text(f"schema: '2.0'\nstages:\n  curate:\n    cmd: x\n    outs:\n{out}")
        git(root, "add", "-A")
        git(root, "-c", "user.name=a", "-c", "user.email=a@b", "commit", "-qm", content.decode())
    git(root, "update-ref", "refs/stemma/runs/run-1", "HEAD")
    return workspace


def git(root, *arguments):
    subprocess.run(["git", "-C", str(root), *arguments], check=True)


def keep(root, content, suffix=""):
    md5 = hashlib.md5(content, usedforsecurity=False).hexdigest()
    path = root / ".dvc" / "cache" / "files" / "md5" / md5[:2] / (md5[2:] + suffix)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return md5 + suffix


def test_a_run_and_a_git_revision_are_read_from_the_cache(workspace):
    for name, content, words in (("HEAD~1", b"first", "git revision HEAD~1"), ("run-1", b"second", "run run-1")):
        found = find_corpus(workspace, name)
        assert found.name == words and list(found.shards) == [SHARD]
        assert found.shards[SHARD].read_bytes() == content and found.report == {}


def test_a_folder_has_the_reports_beside_it_where_it_is_a_workspaces(workspace, tmp_path):
    folder = workspace.root / "data" / "corpus"
    folder.mkdir(parents=True)
    with pytest.raises(UnknownReference, match="data/corpus holds no parquet file; run `stemma stage curate`"):
        find_corpus(workspace)
    (folder / SHARD).write_bytes(b"here")
    report = workspace.root / "reports" / "curate"
    report.mkdir(parents=True)
    (report / "report.json").write_text("{}")
    assert find_corpus(workspace).report == {"report.json": report / "report.json"}
    assert find_corpus(workspace, str(folder)).shards == {SHARD: folder / SHARD}


def test_what_is_not_there_is_said(workspace):
    with pytest.raises(UnknownReference, match="'x' is neither a folder, nor a run, a model version or a git revision"):
        find_corpus(workspace, "x")
    [shard] = find_corpus(workspace, "HEAD~1").shards.values()
    shard.unlink()
    with pytest.raises(MissingBytes, match=r"data/corpus of git revision HEAD~1 .* `dvc fetch --all-commits`"):
        find_corpus(workspace, "HEAD~1")
