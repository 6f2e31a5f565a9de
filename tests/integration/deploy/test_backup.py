"""Back-up and restore of a workspace that has really run, with SQLite, to a folder."""

from __future__ import annotations

import json
import os
import shutil
import sqlite3
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from deploy import backup
from deploy.backup import last
from deploy.backup.create import _Work
from deploy.backup.manifest import Manifest
from registry.db.database import open as open_registry
from registry.integrity import history
from registry.promotion.promote import promote
from registry.store.run_locks import running
from tests.integration.deploy.lived import REASON, elsewhere, holder


def test_everything_comes_back_on_another_machine(lived, tmp_path):
    from registry.integrity.verification import verify

    done = backup.create(lived.workspace, str(tmp_path / "backups"), keys=True)
    folder = Path(done.place)
    assert last.read(lived.workspace.home) == last.LastBackup(done.place, done.manifest.created)
    assert folder.parent == tmp_path / "backups" and folder.stat().st_mode & 0o777 == 0o700
    assert set(done.manifest.databases) == {"registry", "mlflow", "prefect", "sweeps"}

    new = elsewhere(lived, tmp_path / "new")
    restored = backup.restore(new, str(tmp_path / "backups"), keys=True, signed_by=done.signed_by)
    assert holder(new) == ("base:1", REASON)
    with sqlite3.connect(new.home / "prefect" / "prefect.db") as connection:
        assert connection.execute("SELECT name FROM flow_run").fetchall() == [("first",)]
    with sqlite3.connect(new.home / "sweeps.db") as connection:
        assert connection.execute("SELECT name FROM studies").fetchall() == [("rates",)]
    assert (new.home / "mlartifacts" / "1" / "figure.txt").read_text() == "a figure"
    assert subprocess.run(["git", "rev-parse", "refs/stemma/runs/first"], cwd=new.root).returncode == 0
    # Not only there, but what was signed: the bytes come out of DVC's restored objects, the key out of the back-up.
    assert verify(new, "base@champion").files.is_dir()
    assert (new.home / "keys" / "signing.pem").stat().st_mode & 0o777 == 0o600
    assert f"key restored: signing.pem signs as this workspace: {done.signed_by}" in restored.lines


def test_a_decision_that_is_made_meanwhile_is_in_the_registry_and_in_git(lived, tmp_path, monkeypatch):
    bundle, bundled = _Work._bundle, []

    def after_a_decision(work) -> None:  # the databases are dumped
        if not bundled:
            assert promote(lived.workspace, "base:1", "staging", "try it", "ada").accepted
        bundled.append(work)
        bundle(work)

    monkeypatch.setattr(_Work, "_bundle", after_a_decision)
    done = backup.create(lived.workspace, str(tmp_path / "backups"), keys=True, without=["mlflow", "prefect"])
    new = elsewhere(lived, tmp_path / "new")
    backup.restore(new, done.place, keys=True, signed_by=done.signed_by)
    with open_registry(new.registry_url) as registry, registry.read() as session:
        assert str(history.resolve(new, session, "base@staging")) == "base:1"


def test_a_second_backup_links_what_the_first_has(lived, tmp_path):
    first = backup.create(lived.workspace, str(tmp_path / "backups"))
    time.sleep(1.1)  # they are named by the second
    second = backup.create(lived.workspace, str(tmp_path / "backups"))
    assert first.reused == 0 and second.reused > 0
    name = next(name for name in second.manifest.files if name.startswith("objects/files/md5/"))
    assert Path(first.place, name).samefile(Path(second.place, name))
    shutil.rmtree(first.place)
    Manifest.read(Path(second.place)).verify(Path(second.place), lambda done, total: None)


def test_targets_that_are_not_empty_are_all_named_and_replaced_only_by_force(lived, tmp_path):
    folder = backup.create(lived.workspace, str(tmp_path / "backups")).place
    with sqlite3.connect(lived.workspace.home / "prefect" / "prefect.db") as later:
        later.execute("INSERT INTO flow_run VALUES ('second')")
    with pytest.raises(backup.BackupRefused) as refused:
        backup.restore(lived.workspace, folder)
    assert [line.split(":")[0] for line in refused.value.problems] == ["registry", "mlflow", "prefect", "sweeps"]
    assert all("--force" in line for line in refused.value.problems)
    with sqlite3.connect(lived.workspace.home / "prefect" / "prefect.db") as untouched:
        assert untouched.execute("SELECT count(*) FROM flow_run").fetchone() == (2,)
    held = {"models/base": {"write": {"pid": os.getpid(), "cmd": "dvc repro"}}}
    rwlock = lived.root / ".dvc" / "tmp" / "rwlock"
    with running(lived.workspace.home), pytest.raises(backup.BackupRefused, match="is at work"):
        backup.restore(lived.workspace, folder, force=True)
    rwlock.write_text(json.dumps(held))
    with pytest.raises(backup.BackupRefused, match="`dvc repro`"):
        backup.restore(lived.workspace, folder, force=True)
    rwlock.write_text("{}")
    backup.restore(lived.workspace, folder, force=True)
    with sqlite3.connect(lived.workspace.home / "prefect" / "prefect.db") as replaced:
        assert replaced.execute("SELECT name FROM flow_run").fetchall() == [("first",)]
    assert holder(lived.workspace) == ("base:1", REASON)


def test_a_damaged_database_is_replaced_by_force_and_kept_beside(lived, tmp_path):
    folder = backup.create(lived.workspace, str(tmp_path / "backups")).place
    path = lived.workspace.home / "prefect" / "prefect.db"
    path.write_bytes(os.urandom(8192))
    with pytest.raises(backup.BackupRefused, match="cannot be read"):
        backup.restore(lived.workspace, folder)
    backup.restore(lived.workspace, folder, force=True)
    with sqlite3.connect(path) as replaced:
        assert replaced.execute("SELECT name FROM flow_run").fetchall() == [("first",)]
    assert path.with_name("prefect.db.damaged").stat().st_size == 8192


def test_a_database_that_is_being_written_is_copied_in_one_consistent_state(lived, tmp_path):
    """Two tables that every transaction changes together are never seen apart, however long the copy takes."""
    path = lived.workspace.home / "prefect" / "prefect.db"
    with sqlite3.connect(path) as connection:
        connection.executescript("CREATE TABLE a (n INTEGER); CREATE TABLE filler (x BLOB); CREATE TABLE b (n INTEGER)")
        connection.executemany("INSERT INTO filler VALUES (?)", [(os.urandom(4096),) for _ in range(5000)])
    stop, written = threading.Event(), []

    def write() -> None:
        with sqlite3.connect(path, timeout=60) as writer:
            while not stop.is_set():
                with writer:
                    writer.execute("INSERT INTO a VALUES (1)")
                    writer.execute("INSERT INTO b VALUES (1)")
                written.append(1)

    thread = threading.Thread(target=write)
    thread.start()
    try:
        while not written:
            time.sleep(0.01)
        before = len(written)
        done = backup.create(lived.workspace, str(tmp_path / "backups"))
    finally:
        stop.set()
        thread.join()
    with sqlite3.connect(Path(done.place) / "databases" / "prefect.sqlite") as copy:
        (in_a,) = copy.execute("SELECT count(*) FROM a").fetchone()
        (in_b,) = copy.execute("SELECT count(*) FROM b").fetchone()
    assert before <= in_a == in_b <= len(written)


def test_a_killed_backup_leaves_none_and_the_next_one_clears_up(lived, tmp_path):
    """Killed while it writes: nothing that looks like a back-up, and nothing is left by the one after it."""
    parent = tmp_path / "backups"
    script = (
        "import os, signal, sys\n"
        "from pathlib import Path\n"
        "from deploy import backup\n"
        "from core.workspace import Workspace\n"
        "def die(what, done, total):\n"
        "    if what == 'objects': os.kill(os.getpid(), signal.SIGKILL)\n"
        "backup.create(Workspace.find(Path(sys.argv[1])), sys.argv[2], progress=die)\n"
    )
    killed = subprocess.run([sys.executable, "-c", script, str(lived.root), str(parent)], capture_output=True)
    assert killed.returncode == -9
    assert [path.name for path in parent.iterdir() if not path.name.startswith(".")] == []
    with pytest.raises(backup.BackupFailed, match="holds no back-up"):
        backup.restore(lived.workspace, str(parent))
    done = backup.create(lived.workspace, str(parent))
    assert sorted(path.name for path in parent.iterdir()) == [".lock", Path(done.place).name]


def test_what_the_configuration_does_not_name_is_told_all_at_once(lived, tmp_path, monkeypatch):
    monkeypatch.setenv("STEMMA_REGISTRY_URL", "mysql://somewhere/registry")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://mlflow.example:5000")
    with pytest.raises(backup.BackupRefused) as refused:
        backup.create(lived.workspace, str(tmp_path / "backups"))
    registry, mlflow = refused.value.problems
    assert "mysql is not supported" in registry
    assert "MLFLOW_BACKEND_STORE_URI" in mlflow and "--without mlflow" in mlflow
    assert not list((tmp_path / "backups").glob("*")) if (tmp_path / "backups").exists() else True


def test_the_command_tells_what_it_did_and_what_it_left_out(lived, tmp_path):
    made = lived.stemma("backup", str(tmp_path / "backups"))
    assert made.returncode == 0, made.stderr
    assert (
        "  signed by key " in made.stdout
        and "signing keys: not included" in made.stdout
        and "objects ..." in made.stderr
    )
    refused = lived.stemma("backup", "restore", str(tmp_path / "backups"))
    assert refused.returncode == 2 and "4 problems; nothing was changed:" in refused.stderr
    restored = lived.stemma("backup", "restore", str(tmp_path / "backups"), "--force")
    assert restored.returncode == 0, restored.stderr
    assert "Restored the back-up of" in restored.stdout and "stemma audit" in restored.stdout
    as_json = lived.stemma("backup", str(tmp_path / "more"), "--without", "prefect", "--json")
    assert json.loads(as_json.stdout)["left_out"] == {"prefect": "left out by --without"}
