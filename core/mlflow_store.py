"""MLflow's SQLite database in a home: created whole, and kept right when the workspace is moved or copied.

MLflow stores absolute addresses. In the SQLite database of a home those of its own artifacts begin with the home's
folder at the time; after a move they point to a folder that is gone, after a copy to another workspace's.
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import unquote, urlsplit

from core import layout
from core.workspace import sqlite_url

_COLUMNS = (
    ("experiments", "artifact_location"),
    ("runs", "artifact_uri"),
    ("logged_models", "artifact_location"),
    ("model_versions", "source"),
    ("model_versions", "storage_location"),
)
BUSY_SECONDS = 30


def create_database(path: Path, create_tables: Callable[[str], object]) -> None:
    """Create the database under another name, then rename it: a migration killed half-way cannot be continued.

    To be called under :func:`core.layout.mlflow_lock`.

    Args:
        create_tables: creates MLflow's tables in the database of a URL, and closes it.
    """
    partial = path.with_name(f"{path.name}.partial")
    for leftover in path.parent.glob(f"{partial.name}*"):
        leftover.unlink()
    os.close(os.open(partial, os.O_CREAT, 0o600))  # SQLite gives its other files the same mode
    create_tables(sqlite_url(partial))
    with contextlib.closing(sqlite3.connect(partial)) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    os.replace(partial, path)


def moved_from(home: Path) -> dict[str, int]:
    """How many addresses lead to each artifact folder of a former place of this home, by the folder's path."""
    found: dict[str, int] = {}
    with _database(home) as connection:
        for _, _, _, address, _ in _stale(connection, home):
            former = unquote(urlsplit(address[: _root_length(address, home)]).path)
            found[former] = found.get(former, 0) + 1
    return found


def adopt_artifacts(home: Path) -> int:
    """Let every such address lead into this home; returns how many there were.

    Raises:
        sqlite3.Error: the database cannot be written now.
    """
    with _database(home) as connection:
        stale = list(_stale(connection, home))
        with connection:
            for table, column, row, _, address in stale:
                connection.execute(f"UPDATE {table} SET {column} = ? WHERE rowid = ?", (address, row))
    return len(stale)


def _stale(connection: sqlite3.Connection, home: Path) -> Iterator[tuple[str, str, int, str, str]]:
    """(table, column, row, address, what it should be) of addresses in a former place of the home."""
    root = layout.mlflow_artifacts(home)
    own = root.as_uri()
    known = {name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
    for table, column in (each for each in _COLUMNS if each[0] in known):
        rows = connection.execute(
            f"SELECT rowid, {column} FROM {table} WHERE {column} LIKE 'file:%' AND substr({column}, 1, ?) != ?",
            (len(own), own),
        )
        for row, address in rows.fetchall():
            if not (length := _root_length(address, home)):
                continue
            there, here = Path(unquote(urlsplit(address).path)), Path(f"{root}{unquote(address[length:])}")
            if here.exists() or not there.exists():
                yield table, column, row, address, own + address[length:]


def _root_length(address: str, home: Path) -> int:
    """Characters of an address up to the end of its artifact folder; 0 where it leads to no such folder."""
    name = f"/{layout.mlflow_artifacts(home).name}"
    place = f"{address}/".find(f"{name}/")
    return place + len(name) if place >= 0 else 0


@contextlib.contextmanager
def _database(home: Path) -> Iterator[sqlite3.Connection]:
    path = layout.mlflow_database(home)
    target = str(path) if path.is_file() else ":memory:"
    with contextlib.closing(sqlite3.connect(target, timeout=BUSY_SECONDS)) as connection:
        yield connection
