"""The database of a new Prefect server, made once: its migrations take longer than all else that it does to start."""

from __future__ import annotations

import shutil
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from tests.made_once import made_once


@pytest.fixture(scope="session")
def prefect_database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder as a new server leaves its ``PREFECT_HOME``."""

    def make(folder: Path) -> None:
        from flows.prefect_server import local_server  # not before it is needed: unit tests do without

        home = tmp_path_factory.mktemp("new-prefect")
        with local_server(home) as server:
            server.wait()
        with closing(sqlite3.connect(home / "prefect.db")) as source:
            with closing(sqlite3.connect(folder / "prefect.db")) as copy:
                source.backup(copy)
        shutil.copy(home / "memo_store.toml", folder)  # says which blocks are registered

    return made_once(tmp_path_factory, "prefect-database", make)


def give(made: Path, home: Path) -> Path:
    """Put the database into a ``PREFECT_HOME``; returns it."""
    shutil.copytree(made, home, dirs_exist_ok=True)
    return home
