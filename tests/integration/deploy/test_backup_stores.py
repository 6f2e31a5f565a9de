"""Back-up and restore with PostgreSQL and with S3."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import boto3
import pytest

from deploy import backup
from registry.lineage.sync import sync
from registry.promotion.promote import promote
from tests.integration.deploy.lived import REASON, elsewhere, holder


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
