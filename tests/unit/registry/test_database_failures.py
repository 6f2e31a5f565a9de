"""A registry that cannot be used says why, and what to do; nothing that it advises loses promotions."""

from __future__ import annotations

import contextlib
import re
import sqlite3
import stat
from types import SimpleNamespace

import pytest
from sqlalchemy import event, make_url

from registry.db import database
from registry.errors import DatabaseError
from registry.lineage.recording import record_context


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "home" / "registry.db"
    database.open(f"sqlite:///{path}").close()
    return path


def refused(url: str, told: str, prepare=lambda registry: None) -> None:
    """Writing fails with a message that names the cause."""
    with pytest.raises(DatabaseError, match=told) as caught, database.open(url) as registry:
        prepare(registry)
        with registry.write() as session:
            for number in range(2000):
                record_context(session, f"{number:0190}")
    assert "move it away" not in str(caught.value) and "delete" not in str(caught.value)


def test_it_is_closed_to_other_accounts_from_the_start(file):
    assert [stat.S_IMODE(path.stat().st_mode) for path in (file.parent, file)] == [0o700, 0o600]


def test_locked(file, monkeypatch):
    monkeypatch.setattr(database, "BUSY_SECONDS", 0.1)
    with contextlib.closing(sqlite3.connect(file, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        refused(f"sqlite:///{file}", r"database is locked; another process has held it for 0\.1 s.*try again")


def test_full(file):
    def fill(registry) -> None:
        @event.listens_for(registry.engine, "engine_connect")
        def limit(connection) -> None:
            connection.connection.driver_connection.execute("PRAGMA max_page_count = 1")

    refused(f"sqlite:///{file}", "database or disk is full; its disk is full.*free some space and try again", fill)


def test_read_only(file):
    refused(f"sqlite:///file:{file}?mode=ro&uri=true", "readonly database; this account must be able to write the file")


def test_not_to_be_opened(tmp_path):
    (tmp_path / "registry.db").mkdir()
    refused(f"sqlite:///{tmp_path / 'registry.db'}", "unable to open database file; this account must be able to write")


def test_damaged(file):
    file.write_bytes(b"no database at all, but long enough to be looked at" * 100)
    refused(f"sqlite:///{file}", "restore it from a back-up .*keep the damaged file")


@pytest.mark.parametrize(
    ("state", "told"),
    [("53100", "disk is full"), ("25006", "may only read"), ("55P03", "busy.*try again"), ("08006", "server runs")],
)
def test_postgresql(state, told):
    hint = database._postgresql_hint(SimpleNamespace(sqlstate=state), make_url("postgresql://nowhere/registry"))
    assert re.search(told, hint)
