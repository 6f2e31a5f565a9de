"""Back-up and restore: on SQLite and on PostgreSQL, to a folder and to S3, of a workspace that has really run."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import sqlite3
import subprocess
import sys
import threading
import time
from pathlib import Path

import boto3
import pytest

from core.workspace import Workspace
from deploy import backup
from deploy.backup.manifest import Manifest
from registry.db.database import open as open_registry
from registry.db.references import resolve
from registry.lineage.sync import sync
from registry.promotion.promote import promote
from tests.integration.registry.conftest import Project

REASON = "the first that works"


@pytest.fixture(scope="session")
def promoted(made: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A promoted model, its run's snapshot, and a Prefect database (as `stemma run` leaves one in the home)."""
    root = tmp_path_factory.mktemp("promoted") / "workspace"
    shutil.copytree(made, root, symlinks=True)
    project = Project(root)
    with pytest.MonkeyPatch.context() as patched:
        patched.setenv("MLFLOW_DISABLE_TELEMETRY", "true")
        sync(project.workspace, run="first", update_mlflow=False)
        promote(project.workspace, "base:1", "champion", REASON, "ada")
    prefect = project.workspace.home / "prefect" / "prefect.db"
    prefect.parent.mkdir(parents=True, exist_ok=True)
    with sqlite3.connect(prefect) as connection:
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("CREATE TABLE flow_run (name TEXT)")
        connection.execute("INSERT INTO flow_run VALUES ('first')")
    artifacts = project.workspace.home / "mlartifacts" / "1" / "figure.txt"
    artifacts.parent.mkdir(parents=True)
    artifacts.write_text("a figure")
    return root


@pytest.fixture
def lived(promoted: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Project:
    """A copy of that of its own."""
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)  # MLflow's client sets it for its own process
    shutil.copytree(promoted, tmp_path / "workspace", symlinks=True)
    return Project(tmp_path / "workspace")


def elsewhere(project: Project, folder: Path) -> Workspace:
    """A clone on a new machine: code and branches, and neither databases, keys, snapshots nor bytes."""
    subprocess.run(["git", "clone", "-q", str(project.root), str(folder)], check=True)
    return Workspace.find(folder)


def holder(workspace: Workspace) -> tuple[str, str]:
    """(champion, who decided why) as the registry of ``workspace`` has it."""
    from registry.db.references import current_aliases

    with open_registry(workspace.registry_url) as registry, registry.read() as session:
        (promotion,) = current_aliases(session)
        return str(resolve(session, "base@champion")), promotion.reason


def test_everything_comes_back_on_another_machine(lived, tmp_path):
    from registry.integrity.verification import verify

    done = backup.create(lived.workspace, str(tmp_path / "backups"), keys=True)
    folder = Path(done.place)
    assert folder.parent == tmp_path / "backups" and folder.stat().st_mode & 0o777 == 0o700
    assert set(done.manifest.databases) == {"registry", "mlflow", "prefect"}

    new = elsewhere(lived, tmp_path / "new")
    restored = backup.restore(new, str(tmp_path / "backups"), keys=True, signed_by=done.signed_by)
    assert holder(new) == ("base:1", REASON)
    with sqlite3.connect(new.home / "prefect" / "prefect.db") as connection:
        assert connection.execute("SELECT name FROM flow_run").fetchall() == [("first",)]
    assert (new.home / "mlartifacts" / "1" / "figure.txt").read_text() == "a figure"
    assert subprocess.run(["git", "rev-parse", "refs/stemma/runs/first"], cwd=new.root).returncode == 0
    # Not only there, but what was signed: the bytes come out of DVC's restored objects, the key out of the back-up.
    assert verify(new, "base@champion").files.is_dir()
    assert (new.home / "keys" / "signing.pem").stat().st_mode & 0o777 == 0o600
    assert f"key restored: signing.pem signs as this workspace: {done.signed_by}" in restored.lines


def test_a_second_backup_links_what_the_first_has(lived, tmp_path):
    first = backup.create(lived.workspace, str(tmp_path / "backups"))
    time.sleep(1.1)  # they are named by the second
    second = backup.create(lived.workspace, str(tmp_path / "backups"))
    assert first.reused == 0 and second.reused > 0
    name = next(name for name in second.manifest.files if name.startswith("objects/files/md5/"))
    assert Path(first.place, name).samefile(Path(second.place, name))
    shutil.rmtree(first.place)
    Manifest.read(Path(second.place)).verify(Path(second.place), lambda done, total: None)


def test_a_damaged_backup_is_refused_and_every_damage_is_named(lived, tmp_path):
    done = backup.create(lived.workspace, str(tmp_path / "backups"))
    folder = Path(done.place)
    (folder / "databases" / "registry.sqlite").write_bytes(
        b"x" * (folder / "databases" / "registry.sqlite").stat().st_size
    )
    (folder / "repository.bundle").unlink()
    new = elsewhere(lived, tmp_path / "new")
    with pytest.raises(backup.BackupFailed) as refused:
        backup.restore(new, str(folder), signed_by=done.signed_by)
    assert "databases/registry.sqlite differs from what was backed up" in str(refused.value)
    assert "repository.bundle is missing" in str(refused.value)
    assert not (new.home / "registry.db").exists() and not (new.home / "mlflow.db").exists()


def test_a_backup_of_an_attacker_s_is_refused_whatever_it_says(lived, tmp_path):
    """Signed by a key that nobody here knows; with his key among ours; with paths elsewhere; without a signature."""
    done = backup.create(lived.workspace, str(tmp_path / "backups"), keys=True)
    folder = Path(done.place)
    new = elsewhere(lived, tmp_path / "new")

    def refused(words: str, **options) -> None:
        with pytest.raises((backup.BackupRefused, backup.BackupFailed), match=words):
            backup.restore(new, str(folder), **options)
        assert not (new.home / "registry.db").exists() and not (new.home / "keys" / "trusted").exists()

    refused("signed by key .*, which is not trusted here")
    refused("and not by", signed_by="0" * 64)
    refused("at least 16 signs", signed_by=done.signed_by[:8])
    manifest, own = folder / "manifest.json", json.loads((folder / "manifest.json").read_text())
    key = (lived.workspace.home / "keys" / "signing.pub").read_bytes()
    (folder / "keys" / "trusted").mkdir(exist_ok=True)
    (folder / "keys" / "trusted" / "friend.pem").write_bytes(key)
    entry = {"bytes": len(key), "sha256": hashlib.sha256(key).hexdigest()}
    manifest.write_text(json.dumps({**own, "files": {**own["files"], "keys/trusted/friend.pem": entry}}))
    refused("does not hold", signed_by=done.signed_by)
    for name in ("../keys/trusted/friend.pem", str(new.home / "x"), "keys\\..\\x", "code/torch.py", "keys/../../x"):
        manifest.write_text(json.dumps({**own, "files": {**own["files"], name: entry}}))
        refused("nothing of it was used", unsigned=True)
    manifest.write_text(json.dumps({**own, "databases": {"registry": {"engine": "sqlite", "file": "../../r.db"}}}))
    refused("names the dump", unsigned=True)
    manifest.write_text(json.dumps(own, indent=1, sort_keys=True))
    (folder / "manifest.json.sig").unlink()
    refused("it is not signed", signed_by=done.signed_by)
    assert backup.restore(new, str(folder), unsigned=True)


def test_keys_come_back_only_when_asked_for_and_each_is_named(lived, tmp_path):
    friend = lived.workspace.home / "keys" / "trusted" / "friend.pem"
    friend.parent.mkdir(exist_ok=True, mode=0o700)
    friend.write_bytes((lived.workspace.home / "keys" / "signing.pub").read_bytes())
    done = backup.create(lived.workspace, str(tmp_path / "backups"), keys=True)
    new = elsewhere(lived, tmp_path / "new")
    lines = backup.restore(new, done.place, signed_by=done.signed_by).lines
    assert not (new.home / "keys" / "signing.pem").exists() and not (new.home / "keys" / "trusted").exists()
    assert f"trusted/friend.pem is trusted here, whatever it signs: {done.signed_by}" in "\n".join(lines)
    assert all("not restored (--keys does)" in line for line in lines if "trusted/friend.pem" in line)
    backup.restore(new, done.place, signed_by=done.signed_by, keys=True, force=True)
    assert (new.home / "keys" / "trusted" / "friend.pem").is_file()


def test_targets_that_are_not_empty_are_all_named_and_replaced_only_by_force(lived, tmp_path):
    folder = backup.create(lived.workspace, str(tmp_path / "backups")).place
    with sqlite3.connect(lived.workspace.home / "prefect" / "prefect.db") as later:
        later.execute("INSERT INTO flow_run VALUES ('second')")
    with pytest.raises(backup.BackupRefused) as refused:
        backup.restore(lived.workspace, folder)
    assert [line.split(":")[0] for line in refused.value.problems] == ["registry", "mlflow", "prefect"]
    assert all("--force" in line for line in refused.value.problems)
    with sqlite3.connect(lived.workspace.home / "prefect" / "prefect.db") as untouched:
        assert untouched.execute("SELECT count(*) FROM flow_run").fetchone() == (2,)
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
    def stemma(*arguments: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "cli", *arguments]
        return subprocess.run(command, cwd=lived.root, capture_output=True, text=True)

    made = stemma("backup", str(tmp_path / "backups"))
    assert made.returncode == 0, made.stderr
    assert (
        "  signed by key " in made.stdout
        and "signing keys: not included" in made.stdout
        and "objects ..." in made.stderr
    )
    refused = stemma("backup", "restore", str(tmp_path / "backups"))
    assert refused.returncode == 2 and "3 problems; nothing was changed:" in refused.stderr
    restored = stemma("backup", "restore", str(tmp_path / "backups"), "--force")
    assert restored.returncode == 0, restored.stderr
    assert "Restored the back-up of" in restored.stdout and "stemma audit" in restored.stdout
    as_json = stemma("backup", str(tmp_path / "more"), "--without", "prefect", "--json")
    assert json.loads(as_json.stdout)["left_out"] == {"prefect": "left out by --without"}


@pytest.mark.parametrize("shared", [False, True], ids=["three databases", "one database"])
def test_postgresql_comes_back_whole_and_older_tables_replace_newer_ones(
    project, server, tmp_path, monkeypatch, shared
):
    """Registry, MLflow and Prefect by their own migrations; restored into other databases of the server."""
    from mlflow import MlflowClient

    def databases(part: str) -> dict[str, str]:
        names = {
            name: f"{part}_{'all' if shared else name}_{tmp_path.name}"[:60]
            for name in ("registry", "mlflow", "prefect")
        }
        server.create(*sorted(set(names.values())))
        return names

    def use(names: dict[str, str]) -> None:
        monkeypatch.setenv("PGPASSWORD", server.password)
        monkeypatch.setenv("STEMMA_REGISTRY_URL", server.url(names["registry"]))
        monkeypatch.setenv("MLFLOW_BACKEND_STORE_URI", server.url(names["mlflow"], "+psycopg"))
        monkeypatch.setenv("MLFLOW_TRACKING_URI", server.url(names["mlflow"], "+psycopg"))
        monkeypatch.setenv("PREFECT_SERVER_DATABASE_CONNECTION_URL", server.url(names["prefect"], "+asyncpg"))

    old = databases("old")
    use(old)
    sync(project.workspace, run="first", update_mlflow=False)
    promote(project.workspace, "base:1", "champion", REASON, "ada")
    if not shared:  # MLflow's and the registry's migrations keep their states in tables of one name
        MlflowClient(os.environ["MLFLOW_TRACKING_URI"]).create_experiment("kept", tags={"why": "to be found again"})
    with server.connect(old["prefect"]) as prefect:
        # As Prefect's own migrations do it: an extension, types, a schema of one's own.
        prefect.execute("CREATE EXTENSION pg_trgm")
        prefect.execute("CREATE TYPE state AS ENUM ('COMPLETED', 'FAILED')")
        prefect.execute("CREATE SCHEMA flows")
        prefect.execute("CREATE TABLE flows.run (id serial PRIMARY KEY, name text, state state)")
        prefect.execute("CREATE INDEX runs_by_name ON flows.run USING gin (name gin_trgm_ops)")
        prefect.execute("INSERT INTO flows.run (name, state) VALUES ('first', 'COMPLETED')")
    done = backup.create(project.workspace, str(tmp_path / "backups"))
    assert len({body["file"] for body in done.manifest.databases.values()}) == (1 if shared else 3)
    for written in Path(done.place).rglob("*"):
        assert written.is_dir() or server.password.encode() not in written.read_bytes()

    use(databases("new"))
    backup.restore(project.workspace, done.place)
    new = os.environ["PREFECT_SERVER_DATABASE_CONNECTION_URL"].rpartition("/")[2]
    assert holder(project.workspace) == ("base:1", REASON)
    if not shared:
        found = MlflowClient(os.environ["MLFLOW_TRACKING_URI"]).get_experiment_by_name("kept")
        assert found.tags == {"why": "to be found again"}
    with server.connect(new) as prefect:
        assert prefect.execute("SELECT name, state FROM flows.run").fetchall() == [("first", "COMPLETED")]
        # Numbering goes on where it was.
        prefect.execute("INSERT INTO flows.run (name, state) VALUES ('second', 'FAILED')")
        assert prefect.execute("SELECT max(id) FROM flows.run").fetchone() == (2,)
        prefect.execute("CREATE TABLE flows.of_a_later_version (id int)")
    with pytest.raises(backup.BackupRefused) as refused:
        backup.restore(project.workspace, done.place)
    assert len(refused.value.problems) == 3 and server.password not in str(refused.value)
    backup.restore(project.workspace, done.place, force=True)
    with server.connect(new) as prefect:
        assert prefect.execute("SELECT count(*) FROM flows.run").fetchone() == (1,)
        assert prefect.execute("SELECT to_regclass('flows.of_a_later_version')").fetchone() == (None,)


def test_a_restore_that_fails_half_way_changes_nothing(project, server, tmp_path, monkeypatch):
    """One transaction: what was there before stays there."""
    from sqlalchemy.engine import make_url

    from deploy.backup import postgresql

    name = f"half_{tmp_path.name}"[:60]
    server.create(name)
    monkeypatch.setenv("PGPASSWORD", server.password)
    url = make_url(server.url(name))
    with server.connect(name) as connection:
        connection.execute("CREATE TABLE precious (n int)")
    dump = tmp_path / "precious.pgdump"
    postgresql.dump(url, dump)
    with server.connect(name) as connection:
        connection.execute("INSERT INTO precious VALUES (1)")
    dump.write_bytes(dump.read_bytes()[:-20])
    with pytest.raises(backup.BackupFailed):
        postgresql.load(url, dump)
    with server.connect(name) as connection:
        assert connection.execute("SELECT count(*) FROM precious").fetchone() == (1,)


def test_a_database_on_the_wrong_kind_of_server_is_refused_before_anything_is_written(
    lived, server, tmp_path, monkeypatch
):
    done = backup.create(lived.workspace, str(tmp_path / "backups"))
    name = f"wrong_{tmp_path.name}"[:60]
    server.create(name)
    monkeypatch.setenv("PGPASSWORD", server.password)
    monkeypatch.setenv("STEMMA_REGISTRY_URL", server.url(name))
    with pytest.raises(backup.BackupRefused, match="the back-up is of sqlite"):
        backup.restore(elsewhere(lived, tmp_path / "new"), done.place, signed_by=done.signed_by)


@pytest.mark.usefixtures("credentials")
def test_a_dvc_remote_on_s3_and_a_backup_on_s3(lived, tmp_path):
    """What only the remote has is backed up; restored, the remote has it again, and DVC pulls from it."""
    client = boto3.client("s3")
    for bucket in ("dvc", "dvc-new", "backups"):
        client.create_bucket(Bucket=bucket)
    lived.dvc("remote", "add", "--local", "--default", "stemma", "s3://dvc/here")
    lived.dvc("push", "-q")
    shutil.rmtree(lived.root / ".dvc" / "cache")
    done = backup.create(lived.workspace, "s3://backups/stemma")
    place = done.place
    keys = [each["Key"] for each in client.list_objects_v2(Bucket="backups", Prefix="stemma/")["Contents"]]
    assert place.startswith("s3://backups/stemma/stemma-") and any(key.endswith("/manifest.json") for key in keys)
    assert not any((lived.workspace.home / "backup").glob("*stemma-*")), "nothing stays here of a back-up elsewhere"

    new = elsewhere(lived, tmp_path / "new")
    remote = (sys.executable, "-m", "dvc", "remote", "add", "--local", "--default", "stemma", "s3://dvc-new")
    subprocess.run(remote, cwd=new.root, check=True, capture_output=True)
    with pytest.raises(backup.BackupRefused, match="is not trusted here"):
        backup.restore(new, "s3://backups/stemma")
    backup.restore(new, "s3://backups/stemma", signed_by=done.signed_by)
    assert holder(new) == ("base:1", REASON)
    shutil.copy(lived.root / "dvc.lock", new.root)
    pulled = subprocess.run([sys.executable, "-m", "dvc", "pull", "-q", "pretrain"], cwd=new.root, capture_output=True)
    assert pulled.returncode == 0, pulled.stderr
    assert (new.root / "models" / "base" / "config.json").is_file()
