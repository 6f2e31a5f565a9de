"""The database of a new Prefect server, made once: its migrations take longer than all else that it does to start."""

from __future__ import annotations

import os
import shutil
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from core import locks


@pytest.fixture(scope="session")
def prefect_database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder as a new server leaves its ``PREFECT_HOME``; the processes of pytest-xdist share it."""
    from flows.prefect_server import local_server  # not before it is needed: unit tests do without

    base = tmp_path_factory.getbasetemp()
    made = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "prefect-database"
    with locks.holding(made.with_suffix(".lock")):
        if not made.exists():
            home = tmp_path_factory.mktemp("new-prefect")
            with local_server(home) as server:
                server.wait()
            partial = home / "made"
            partial.mkdir()
            with closing(sqlite3.connect(home / "prefect.db")) as source:
                with closing(sqlite3.connect(partial / "prefect.db")) as copy:
                    source.backup(copy)
            shutil.copy(home / "memo_store.toml", partial)  # says which blocks are registered
            partial.rename(made)
    return made


def give(made: Path, home: Path) -> Path:
    """Put the database into a ``PREFECT_HOME``; returns it."""
    shutil.copytree(made, home, dirs_exist_ok=True)
    return home
