"""Collecting garbage: what is kept and why, what refuses, and what else than DVC's cache is cleaned."""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor, wait

import pytest
from mlflow import MlflowClient

from cli.generate import generate
from core import dvc
from core.errors import WorkspaceError
from deploy.gateway import local_generation
from deploy.gateway.catalog import Catalog
from registry.db.database import open as open_registry
from registry.errors import UnknownReference
from registry.lineage import deployments
from registry.promotion.promote import promote
from registry.store import pins, worktrees
from registry.store.collection import collect
from registry.store.manifests import digest_of
from registry.store.materialize import materialize
from registry.store.restore import restore
from registry.store.run_locks import InUse, running

HOLDS = """
import os, sys, time
from pathlib import Path
from flows.pipeline.worktree import Worktree
Worktree.create(Path.cwd(), Path.cwd() / ".stemma", "killed", "HEAD", True)
print("made", flush=True)
time.sleep(60)
"""


def categories(done) -> dict[str, int]:
    return {row.name: row.count for row in done.categories}


def half_s_corpus(project) -> str:
    """Digest of the corpus that no model was trained on."""
    import yaml

    lock = yaml.safe_load(project.git("show", "refs/stemma/runs/half:dvc.lock"))
    return next(out["md5"] for out in lock["stages"]["curate"]["outs"] if out["path"] == "data/corpus")


def test_what_keeps_bytes(generations):
    """Among the newest runs, under a pin, on a branch, in a worktree's files: kept; else gone."""
    workspace, cache = generations.workspace, generations.root / ".dvc" / "cache"
    corpus = dvc.object_path(cache, half_s_corpus(generations))
    kept = collect(workspace, keep_runs=2, delete=True)
    assert corpus.is_file() and "among the newest 2" in kept.kept_runs["half"]

    with open_registry(workspace.registry_url) as opened:
        with pytest.raises(pins.PinRefused, match="reason"):
            pins.pin(opened, "half", "  ", "Ada")
        with pytest.raises(UnknownReference, match="neither a run nor a version"):
            pins.pin(opened, "quarter", "why", "Ada")
        assert pins.pin(opened, "half", "a figure of the paper", "Ada") == "run half"
        assert pins.pin(opened, "base:2", "as well", "Ada") == "base:2"
        kept = collect(workspace, keep_runs=0, delete=True)
        assert corpus.is_file() and kept.kept_runs["half"] == "pinned: a figure of the paper"
        for _ in range(2):
            pins.keep(opened, "half", "a program's", "a program")
        pins.release(opened, "half", "a program")
        with opened.read() as session:
            assert [(row.context.name, row.actor) for row in pins.active(session) if row.context] == [("half", "Ada")]
        assert pins.unpin(opened, "half") == "run half"
        with pytest.raises(pins.PinRefused, match="not pinned"):
            pins.unpin(opened, "half")

    generations.git("branch", "experiment", "refs/stemma/runs/half")
    collect(workspace, keep_runs=0, delete=True)
    assert corpus.is_file(), "a branch's dvc.lock names it"

    other = generations.root.parent / "other"
    generations.git("worktree", "add", "-q", str(other), "experiment")
    generations.git("-C", str(other), "checkout", "-q", "--detach", "main")
    generations.git("branch", "-q", "-D", "experiment")
    lock = generations.git("show", "refs/stemma/runs/third:dvc.lock")
    (other / "dvc.lock").write_text(lock.replace(lock.split("md5: ")[1].split()[0], half_s_corpus(generations)))
    collect(workspace, keep_runs=0, delete=True)
    assert corpus.is_file(), "an uncommitted dvc.lock of another worktree names it"

    generations.git("worktree", "remove", "--force", str(other))
    done = collect(workspace, keep_runs=0, delete=True)
    assert not corpus.is_file() and categories(done)["DVC cache"] >= 2


def test_refused_while_something_is_at_work(generations):
    workspace, cache = generations.workspace, generations.root / ".dvc" / "cache"
    corpus = dvc.object_path(cache, half_s_corpus(generations))
    with running(workspace.home), pytest.raises(InUse, match="a run, an export or another command"):
        collect(workspace, keep_runs=0, delete=True)
    lock = workspace.home / "scratch" / "pretrain" / "abc" / "tracking" / "lock"
    lock.parent.mkdir(parents=True)
    with open(lock, "w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        with pytest.raises(InUse, match="stage pretrain runs"):
            collect(workspace, keep_runs=0, delete=True)
        assert any("--delete refuses" in note for note in collect(workspace, keep_runs=0).notes)
    held = {"models/base": {"write": {"pid": os.getpid(), "cmd": "dvc repro"}}}
    rwlock = generations.root / ".dvc" / "tmp" / "rwlock"
    rwlock.write_text(json.dumps(held))
    with pytest.raises(InUse, match="`dvc repro`"):
        collect(workspace, keep_runs=0, delete=True)
    rwlock.write_text("{}")
    assert corpus.is_file()
    with pytest.raises(WorkspaceError, match="no DVC remote is called 'nowhere'"):
        collect(workspace, remote="nowhere")


def test_a_version_that_a_gateway_begins_to_serve_meanwhile_keeps_its_files(generations):
    workspace, taken = generations.workspace, []
    for version in ("base:1", "base:2"):
        assert promote(workspace, version, "champion", "the test asks for it", "Ada", force=True).accepted
    folder, catalog = materialize(workspace, "base:1"), Catalog(workspace)
    wanted = catalog.lookup("base:1")

    def say(message: str) -> None:
        if message.endswith("copies of versions"):
            deployments.start(catalog.registry(), "a gateway", wanted.id)
            taken.append(pool.submit(catalog.verified, wanted))
            wait(taken, timeout=1)

    with ThreadPoolExecutor(1) as pool:
        done = collect(workspace, keep_runs=0, delete=True, say=say)
        (served,) = (each.result() for each in taken)
    assert categories(done)["copies of versions"] and served.path == folder and (folder / "config.json").is_file()
    collect(workspace, keep_runs=0, delete=True)
    assert folder.is_dir(), "its deployment has not ended"
    catalog.close()


def test_a_model_that_answers_keeps_its_files(generations, monkeypatch, capsys):
    answer = local_generation.answer

    def while_loading(folder, *arguments, **settings):
        with pytest.raises(InUse):
            collect(generations.workspace, keep_runs=0, delete=True)
        return answer(folder, *arguments, **settings)

    monkeypatch.setattr(local_generation, "answer", while_loading)
    monkeypatch.chdir(generations.root)
    generate("base:1", "one", max_tokens=2)
    assert len(capsys.readouterr().out.split()) == 2


def test_trees_scratch_logs_and_mlflow(generations):
    workspace, home = generations.workspace, generations.workspace.home
    started = subprocess.Popen(
        [sys.executable, "-c", HOLDS], cwd=generations.root, stdout=subprocess.PIPE, text=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )  # fmt: skip
    assert started.stdout.readline() == "made\n"
    with pytest.raises(InUse, match="killed is in use"):
        collect(workspace, keep_runs=0, delete=True)
    started.send_signal(signal.SIGKILL)
    started.wait()
    for name, finished, told in (("done", True, True), ("begun", False, True), ("untold", True, False)):
        tracking = home / "scratch" / "pretrain" / name / "tracking"
        tracking.mkdir(parents=True)
        (tracking / "events.jsonl").write_text("{}\n")
        (tracking / "cursor.json").write_text(json.dumps({"offset": 3 if told else 0}))
        (tracking.parent / "checkpoint").write_bytes(b"0" * 1000)
        if finished:
            (tracking / "receipt.json").write_text("{}")
    logs = home / "runs" / "long-ago"
    logs.mkdir(parents=True)
    client = MlflowClient(f"sqlite:///{home}/mlflow.db")
    experiment = client.get_experiment_by_name("stemma").experiment_id
    own = client.create_run(experiment, tags={"mine": "yes"}).info.run_id
    before = {run.info.run_id for run in client.search_runs([experiment])}

    done = collect(workspace, keep_runs=1, delete=True)
    found = categories(done)
    assert found["trees of failed or killed runs"] == 1 and worktrees.folders(generations.root) == [generations.root]
    assert sorted(path.name for path in (home / "scratch" / "pretrain").iterdir()) == ["begun", "untold"]
    assert logs.is_dir(), "as new as the newest run"
    time.sleep(0.01)
    done = collect(workspace, keep_runs=0, delete=True)
    assert categories(done)["logs of runs"] == 1 and not logs.exists()
    assert [path.name for path in (home / "scratch" / "pretrain").iterdir()] == ["untold"]
    after = {run.info.run_id for run in client.search_runs([experiment])}
    receipt = json.loads((generations.root / "receipts" / "curate.json").read_text())
    assert receipt["mlflow"]["run_id"] is None
    gone = {client.get_run(run).data.tags.get("stemma.stage") or client.get_run(run).info.run_name
            for run in before - after}  # fmt: skip
    assert gone == {"curate", "half"}, "of the run that nothing needs, its stage and its parent"
    assert own in after and len(after) >= 4


def test_a_remote_and_a_shared_cache(generations, tmp_path):
    store = tmp_path / "store"
    generations.dvc("remote", "add", "-q", "--local", "store", str(store))
    cache = generations.root / ".dvc" / "cache"
    shutil.copytree(cache / "files", store / "files")  # as after a push of every run
    corpus = half_s_corpus(generations)
    in_store = store / "files" / "md5" / corpus[:2] / corpus[2:]
    # The cache is another repository's too: only the remote that was named is collected.
    shutil.move(cache, tmp_path / "shared")
    generations.dvc("cache", "dir", "--local", str(tmp_path / "shared"))
    done = collect(generations.workspace, keep_runs=0, remote="store", delete=True)
    assert any("outside this repository" in note for note in done.notes)
    assert not in_store.exists() and dvc.object_path(tmp_path / "shared", corpus).is_file()
    # What the remote kept is enough for every version.
    shutil.rmtree(tmp_path / "shared")
    restored = restore(generations.workspace, "base:1", tmp_path / "old")
    assert restored.fetched == ["store"] and digest_of(restored.root / "models" / "base") == restored.source.digest
    # Manifests that only the remote has are read there.
    shutil.rmtree(tmp_path / "shared")
    assert collect(generations.workspace, keep_runs=0, remote="store", delete=True).categories == []
