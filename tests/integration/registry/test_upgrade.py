"""From the first released schema, with rows in it, to the newest: nothing is lost, and the guards still stand."""

from __future__ import annotations

from pathlib import Path

import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from sqlalchemy import create_engine, event, text
from sqlalchemy.exc import DBAPIError

import registry.db.migrations
from registry.db.database import open as open_registry
from registry.db.database import revision
from registry.db.schema import REVISION, Base
from registry.lineage.trace import trace

FIRST_RELEASE = Path(__file__).with_name("first_release.sql")


@pytest.fixture
def first_release(registry_url: str | None, tmp_path: Path) -> str:
    """URL of a database as the first release left it."""
    url = registry_url or f"sqlite:///{tmp_path / 'registry.db'}"
    engine = create_engine(url.replace("postgresql://", "postgresql+psycopg://"))
    if engine.dialect.name == "sqlite":
        event.listen(engine, "connect", lambda connection, _: connection.execute("PRAGMA foreign_keys = ON"))
    config = Config()
    config.set_main_option("script_location", registry.db.migrations.__path__[0])
    with engine.begin() as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, "0001")
        for statement in FIRST_RELEASE.read_text().split(";\n"):
            if statement.strip():
                connection.exec_driver_sql(statement)
    engine.dispose()
    return url


def contents(connection) -> dict[str, list[tuple]]:
    return {
        table: sorted(map(tuple, connection.execute(text(f"SELECT * FROM {table}"))), key=str)
        for table in ("artifacts", "components", "executions", "events", "contexts", "associations", "snapshots",
                      "registered_models", "model_versions", "metrics", "promotions", "alias_mirrors", "signatures")
    }  # fmt: skip


def test_upgrade_from_the_first_release(first_release):
    engine = create_engine(first_release.replace("postgresql://", "postgresql+psycopg://"))
    with engine.connect() as connection:
        before = contents(connection)
        assert revision(connection) == "0001"
    engine.dispose()
    assert all(before.values()), "every table has rows"
    with open_registry(first_release) as opened:
        with opened.engine.connect() as connection:
            assert revision(connection) == REVISION
            assert contents(connection) == before
            context = MigrationContext.configure(connection, opts={"compare_type": True})
            assert compare_metadata(context, Base.metadata) == []
        with opened.read() as session:
            tree = trace(session, "base@champion")
            assert [node.name for node in tree.artifacts()] == ["models/base", "data/corpus", "data/raw"]
            assert tree.root.made_by.inputs[0][1].made_by.reused_by == ["second"]
        for statement in ("UPDATE promotions SET reason = 'x'", "DELETE FROM promotions"):
            with pytest.raises(DBAPIError, match="append-only"), opened.engine.begin() as connection:
                connection.execute(text(statement))
    open_registry(first_release).close()
