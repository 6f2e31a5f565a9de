"""Restoring a version: whole, verified, or not at all; and what is told when its bytes are missing."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys

import pytest

from core import dvc
from core.errors import WorkspaceError
from registry.db.database import open as open_registry
from registry.db.references import resolve
from registry.errors import InvalidBytes, MissingBytes, UnknownReference
from registry.store import worktrees
from registry.store.manifests import digest_of
from registry.store.restore import restore, source_of

KILLED = """
import os, signal, sys
from pathlib import Path
from core import dvc
from core.workspace import Workspace
from registry.store.restore import restore
run = dvc.run
def dies(root, *arguments):
    if arguments[0] == "checkout":
        os.kill(os.getpid(), signal.SIGKILL)
    return run(root, *arguments)
dvc.run = dies
restore(Workspace.find(), "base:1", Path(sys.argv[1]))
"""


def locked(project, run: str, path: str) -> str:
    """Digest of an output in a run's ``dvc.lock``."""
    import yaml

    stages = yaml.safe_load(project.git("show", f"refs/stemma/runs/{run}:dvc.lock"))["stages"]
    return next(out["md5"] for stage in stages.values() for out in stage["outs"] if out["path"] == path)


def forget(project, digest: str) -> None:
    """Take an object out of DVC's cache."""
    dvc.object_path(project.root / ".dvc" / "cache", digest).unlink()


def left(project, target) -> list[str]:
    """What a restore that failed left behind."""
    others = [str(path) for path in worktrees.folders(project.root) if path != project.root]
    return others + [path.name for path in target.parent.iterdir() if path.name not in ("workspace", target.name)]


def test_refusals_and_a_killed_restore(generations, tmp_path):
    workspace, target = generations.workspace, tmp_path / "old"
    for wrong, error, words in (
        (("base:9", target), UnknownReference, "known: 1, 2, 3"),
        (("base:1", generations.root / "old"), WorkspaceError, "lies in the workspace"),
        (("base:1", generations.root), WorkspaceError, "is not empty"),
    ):
        with pytest.raises(error, match=words):
            restore(workspace, *wrong)
    assert left(generations, target) == []

    killed = subprocess.run([sys.executable, "-c", KILLED, str(target)], cwd=generations.root, check=False)
    assert killed.returncode == -signal.SIGKILL and not target.exists()
    status = generations.git("status", "--porcelain")
    target.mkdir()  # an empty folder is as good as none
    restored = restore(workspace, "base:1", target)
    assert digest_of(restored.root / "models" / "base") == restored.source.digest
    assert "quality: 0.8" in (target / "params.yaml").read_text()
    assert subprocess.run(
        ["git", "-C", target, "rev-parse", "HEAD"], capture_output=True, text=True
    ).stdout.strip() == (generations.git("rev-parse", "refs/stemma/runs/first"))
    assert left(generations, target) == [str(target)], "nothing of the killed attempt"
    assert generations.git("status", "--porcelain") == status, "the user's own tree is as it was"
    assert (restored.source.run, restored.fetched, restored.notes) == ("first", [], [])
    with pytest.raises(WorkspaceError, match="is not empty"):
        restore(workspace, "base:1", target)


def test_missing_and_damaged_bytes(generations, tmp_path):
    workspace, target = generations.workspace, tmp_path / "old"
    forget(generations, locked(generations, "third", "models/base"))
    with pytest.raises(MissingBytes) as missing:
        restore(workspace, "base:3", target)
    for told in (
        "models/base", "all of it is missing", "stage pretrain makes it", "no DVC remote is configured",
        "still holds it: `dvc commit pretrain`", "stemma reproduce base:3",
    ):  # fmt: skip
        assert told in str(missing.value)
    manifest = dvc.object_path(generations.root / ".dvc" / "cache", locked(generations, "first", "models/base"))
    entries = {entry["relpath"]: entry["md5"] for entry in json.loads(manifest.read_text())}
    weights = dvc.object_path(generations.root / ".dvc" / "cache", entries["training.json"])
    content = weights.read_bytes()
    weights.chmod(0o644)
    weights.write_bytes(content[:-1] + b"?")
    with pytest.raises((InvalidBytes, MissingBytes), match="models/base"):
        restore(workspace, "base:1", target)
    assert left(generations, target) == [] and not target.exists()


def test_from_a_remote_when_the_cache_is_gone(generations, tmp_path):
    store, target = tmp_path / "store", tmp_path / "old"
    generations.dvc("remote", "add", "-q", "--local", "store", str(store))
    generations.dvc("push", "-q", "-r", "store")
    shutil.rmtree(generations.root / ".dvc" / "cache")
    restored = restore(generations.workspace, "base:3", target)
    assert restored.fetched == ["store"] and digest_of(target / "models" / "base") == restored.source.digest
    with pytest.raises(MissingBytes, match="remote store"):
        restore(generations.workspace, "base:1", tmp_path / "older")


def test_raw_data_that_no_stage_can_make(generations, tmp_path):
    from registry.lineage.sync import sync

    generations.git("rm", "-r", "-q", "--cached", "data/raw")
    generations.dvc("add", "-q", "data/raw")
    generations.set("quality: 0.9", "quality: 0.7")
    generations.repro("fourth")
    assert sync(generations.workspace, run="fourth", update_mlflow=False).versions == ["base:4"]
    restored = restore(generations.workspace, "base:4", tmp_path / "whole")
    assert (restored.root / "data" / "raw" / "b.txt").read_text() == "more raw text\n"
    shutil.rmtree(generations.root / ".dvc" / "cache")
    with pytest.raises(MissingBytes, match=r"data/raw .* raw data: no stage can make it"):
        restore(generations.workspace, "base:4", tmp_path / "lost", raw_only=True)


def test_the_snapshot_of_a_later_run_with_the_same_bytes_will_do(generations):
    from registry.lineage.sync import sync

    sync(generations.workspace, run="later", update_mlflow=False)
    generations.git("update-ref", "-d", "refs/stemma/runs/third")
    generations.git("prune", "--expire=now")
    with open_registry(generations.workspace.registry_url) as opened, opened.read() as session:
        found = source_of(generations.workspace, session, resolve(session, "base:3"))
        assert (found.run, found.path, found.stage) == ("later", "models/base", "pretrain")
        generations.git("update-ref", "-d", "refs/stemma/runs/second")
        generations.git("prune", "--expire=now")
        with pytest.raises(MissingBytes, match=r"run second: its snapshot .* is no longer in this repository"):
            source_of(generations.workspace, session, resolve(session, "base:2"))


def again(project) -> None:
    """Record the tree as it is as the run ``later``, the only one that base:3 can then be restored from."""
    from registry.lineage.sync import sync

    sync(project.workspace, run="later", update_mlflow=False)
    project.git("update-ref", "-d", "refs/stemma/runs/third")
    project.git("prune", "--expire=now")


def test_nothing_of_a_snapshot_runs_when_it_is_restored(generations, tmp_path):
    for name in ("colorama.py", "dvc.py", "json.py"):
        (generations.root / name).write_text(f"open({str(tmp_path / 'ran')!r}, 'w')\n")
    hooks = generations.root / "hooks"
    hooks.mkdir()
    (hooks / "post-checkout").write_text(f"#!/bin/sh\ntouch {tmp_path / 'ran'}\n")
    (hooks / "post-checkout").chmod(0o755)
    generations.git("config", "core.hooksPath", "hooks")  # as many projects have it, for hooks that git keeps
    again(generations)
    (tmp_path / "ran").unlink(missing_ok=True)
    restored = restore(generations.workspace, "base:3", tmp_path / "old")
    assert restored.source.run == "later" and (restored.root / "colorama.py").is_file()
    assert not (tmp_path / "ran").exists()


def test_a_snapshot_that_names_places_outside_its_tree_is_refused(generations, tmp_path):
    key = generations.root / "key.dvc"
    digest = locked(generations, "third", "models/base")
    secret = generations.root / "secret.dvc"
    for pointer, path in ((key, "../.stemma/keys/trusted/friend.pem"), (secret, str(tmp_path / "secret"))):
        pointer.write_text(f"outs:\n- md5: {digest}\n  hash: md5\n  path: {path}\n")
        generations.git("add", pointer.name)
        again(generations)
        with pytest.raises(InvalidBytes, match="nothing was written"):
            restore(generations.workspace, "base:3", tmp_path / "old")
        generations.git("rm", "-q", "--cached", "-f", pointer.name)
        pointer.unlink()
    shutil.rmtree(generations.root / "reports")
    (generations.root / "reports").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "elsewhere").mkdir()
    generations.git("add", "-f", "reports")
    again(generations)
    with pytest.raises(InvalidBytes, match="has a link at reports"):
        restore(generations.workspace, "base:3", tmp_path / "old")
    assert not (tmp_path / "secret").exists() and list((tmp_path / "elsewhere").iterdir()) == []
