"""Migrations say what the models say; the database guards the promotions; failures are explained."""

import sqlite3
import subprocess
import sys

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import text
from sqlalchemy.exc import IntegrityError

import registry.db.migrations
from registry.db.database import open as open_registry
from registry.db.schema import REVISION, Base, ExecutionContext
from registry.errors import DatabaseError
from registry.lineage.recording import record_context


def test_migrations_make_what_the_models_declare(registry):
    with registry.engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True, "compare_server_default": True})
        assert compare_metadata(context, Base.metadata) == []


def test_newest_migration_is_the_declared_revision():
    assert ScriptDirectory(registry_migrations()).get_current_head() == REVISION


def registry_migrations() -> str:
    return registry.db.migrations.__path__[0]


def test_opening_a_current_database_needs_no_alembic(registry):
    code = (
        "import sys; from registry.db.database import open; open(sys.argv[1]).close(); "
        "assert not [name for name in sys.modules if name.startswith(('alembic', 'mlflow', 'torch'))]"
    )
    subprocess.run([sys.executable, "-c", code, str(registry.engine.url)], check=True)


def test_a_database_opened_again_keeps_compiled_statements_and_nothing_of_a_file_that_is_gone(tmp_path):
    url = f"sqlite:///{tmp_path / 'registry.db'}"
    with open_registry(url) as first, first.write() as session:
        record_context(session, "kept in the file alone")
    for file in tmp_path.glob("registry.db*"):
        file.unlink()
    with open_registry(url) as second, second.read() as session:
        assert session.query(ExecutionContext).count() == 0
    assert second.engine is first.engine, "SQLAlchemy keeps what it compiled with the engine"


def test_what_was_committed_outlives_a_power_cut(registry):
    with registry.engine.connect() as connection:
        assert connection.exec_driver_sql("PRAGMA synchronous").scalar() == 2  # FULL


def test_a_failing_block_leaves_nothing(registry):
    with pytest.raises(RuntimeError), registry.write() as session:
        record_context(session, "half")
        raise RuntimeError
    with registry.read() as session:
        assert session.query(ExecutionContext).count() == 0


@pytest.mark.parametrize(
    "statement", ["UPDATE promotions SET reason = 'other'", "DELETE FROM promotions"], ids=["update", "delete"]
)
def test_promotions_are_append_only(registry, statement):
    with registry.engine.connect() as connection:
        # The row's references are beside the point here.
        connection.connection.driver_connection.execute("PRAGMA foreign_keys = OFF")
        with connection.begin():
            insert(connection)
        with pytest.raises(IntegrityError, match="append-only"), connection.begin():
            connection.execute(text(statement))


def test_a_promotion_needs_a_reason(registry):
    with registry.engine.connect() as connection:
        connection.connection.driver_connection.execute("PRAGMA foreign_keys = OFF")
        for reason in (None, "  "):
            with pytest.raises(IntegrityError, match="reason"), connection.begin():
                insert(connection, reason)


def insert(connection, reason: str | None = "because") -> None:
    connection.execute(
        text(
            "INSERT INTO promotions (model_id, alias, to_version_id, action, forced, passed, gate_artifact_id, actor, "
            "reason, time, previous_hash, hash) VALUES (1, 'a', 1, 'promote', 0, 1, 1, 'x', :reason, 't', 'p', 'h')"
        ),
        {"reason": reason},
    )


def test_problems_are_explained(tmp_path):
    (tmp_path / "broken.db").write_bytes(b"this is no database, and long enough to be read as one" * 100)
    with pytest.raises(DatabaseError, match=r"broken\.db cannot be used: file is not a database; it is damaged"):
        open_registry(f"sqlite:///{tmp_path / 'broken.db'}")
    with pytest.raises(DatabaseError, match="STEMMA_REGISTRY_URL"):
        open_registry("no url")
    with pytest.raises(DatabaseError, match="mysql is not supported"):
        open_registry("mysql://host/name")
    with pytest.raises(DatabaseError, match="check that the server runs"):
        open_registry("postgresql://nobody@127.0.0.1:1/none")


def test_a_newer_database_is_refused(tmp_path):
    url = f"sqlite:///{tmp_path / 'registry.db'}"
    open_registry(url).close()
    with sqlite3.connect(tmp_path / "registry.db") as connection:
        connection.execute("UPDATE alembic_version SET version_num = '9999'")
    with pytest.raises(DatabaseError, match=r"revision 9999.*update Stemma"):
        open_registry(url)


def test_opening_it_again_drops_no_lock_of_this_process(tmp_path):
    """A file's locks go with the first descriptor that is closed; another process would then tidy up below this one."""
    file = tmp_path / "registry.db"

    def locks() -> list[str]:
        with open("/proc/locks", encoding="ascii") as listed:
            return [line for line in listed if f":{file.stat().st_ino} " in line]

    with open_registry(f"sqlite:///{file}") as first, first.read() as session:
        session.connection().exec_driver_sql("SELECT count(*) FROM promotions").fetchall()
        before = locks()
        with open_registry(f"sqlite:///{file}"):
            assert locks() == before != []
