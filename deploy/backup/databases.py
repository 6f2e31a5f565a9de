"""Where the databases are, and how each of them is dumped and loaded."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError

from core import layout
from core.workspace import Workspace
from deploy.backup import postgresql, sqlite
from deploy.stack import state
from deploy.stack.storage import Storage

NAMES = ("registry", "mlflow", "prefect", "sweeps")
# The variables that the servers themselves read; the first that is set counts.
VARIABLES = {
    "registry": ("STEMMA_REGISTRY_URL",),
    "mlflow": ("MLFLOW_BACKEND_STORE_URI",),
    "prefect": ("PREFECT_SERVER_DATABASE_CONNECTION_URL", "PREFECT_API_DATABASE_CONNECTION_URL"),
    "sweeps": (),  # no server's: a file of the home, whatever the others are
}
# The variables by which clients find the servers.
_SERVERS = {"mlflow": "MLFLOW_TRACKING_URI", "prefect": "PREFECT_API_URL"}


@dataclass(frozen=True)
class Database:
    """One database and how it is kept.

    Attributes:
        name: one of :data:`NAMES`.
        engine: ``sqlite`` or ``postgresql``.
        url: where it is; a secret as soon as it holds a password.
    """

    name: str
    engine: str
    url: URL

    @property
    def where(self) -> str:
        """Where it is, without the password."""
        return self.url.database or "" if self.engine == "sqlite" else self.url.render_as_string(hide_password=True)

    @property
    def file(self) -> str:
        """Path of its dump in a back-up."""
        return f"databases/{self.name}.{'sqlite' if self.engine == 'sqlite' else 'pgdump'}"

    @property
    def exists(self) -> bool:
        """False for an SQLite file that is not made yet."""
        return self.engine != "sqlite" or Path(self.where).is_file()

    def dump(self, target: Path) -> None:
        """One consistent state of it, while it is in use, as a file."""
        self._engine.dump(self.url, target)

    def content(self) -> str | None:
        """What it holds, in words; ``None`` where it is empty or does not exist."""
        found: str | None = self._engine.content(self.url)
        return found

    def load(self, source: Path) -> None:
        """Replace what it holds by a dump, whole or not at all."""
        self._engine.load(self.url, source)

    @property
    def _engine(self) -> Any:
        return sqlite if self.engine == "sqlite" else postgresql


def find(workspace: Workspace, name: str) -> Database:
    """The database ``name`` of this workspace: by its server's own variable, else as the stack or the home has it.

    Raises:
        ValueError: the configuration names no database; the message says what to set.
    """
    variable = next((key for key in VARIABLES[name] if os.environ.get(key)), None)
    if variable is None:
        _refuse_foreign_server(workspace, name)
        return _own(workspace, name)
    try:
        url = make_url(os.environ[variable])
    except ArgumentError:
        raise ValueError(
            f"{name}: {variable} is not a database's URL; set it to postgresql://… or sqlite:////…"
        ) from None
    engine = {"postgres": "postgresql"}.get(url.get_backend_name(), url.get_backend_name())
    if engine not in ("sqlite", "postgresql"):
        raise ValueError(f"{name}: {engine} is not supported; {variable} may name SQLite or PostgreSQL")
    return Database(name, engine, url)


def _own(workspace: Workspace, name: str) -> Database:
    tracking = os.environ.get("MLFLOW_TRACKING_URI", "")
    if name == "mlflow" and tracking and not tracking.startswith("http"):
        url = make_url(tracking)
        return Database(name, url.get_backend_name(), url)
    kept = Storage.recall(workspace.home)  # what the last `stemma up` used
    if kept.database is not None and name != "sweeps":
        return Database(name, "postgresql", make_url(kept.url(kept.name_of(name))))
    return Database(name, "sqlite", URL.create("sqlite", database=str(_default(workspace, name))))


def _refuse_foreign_server(workspace: Workspace, name: str) -> None:
    """A database cannot be read through its server, and only of the workspace's own stack its place is known."""
    if (client := _SERVERS.get(name)) is None or not (address := os.environ.get(client, "")).startswith("http"):
        return
    stack = state.read(workspace.home)
    if stack is None or stack.environment.get(client) != address:
        raise ValueError(
            f"{name}: {client} names a server, and its database cannot be read through it; set {VARIABLES[name][0]} to "
            "the database's own URL (the one that the server is started with)"
        )


def _default(workspace: Workspace, name: str) -> Path:
    if name == "prefect":
        return Path(os.environ.get("PREFECT_HOME") or layout.prefect(workspace.home)).expanduser() / "prefect.db"
    own = {"registry": layout.registry_database, "mlflow": layout.mlflow_database, "sweeps": layout.sweeps_database}
    return own[name](workspace.home)


def same(databases: list[Database]) -> Callable[[Database], str]:
    """Names the physical database behind each: several of them may be schemas of one PostgreSQL database."""

    def key(database: Database) -> str:
        url = database.url
        return f"{url.host}:{url.port or 5432}/{url.database}" if database.engine == "postgresql" else database.where

    first: dict[str, str] = {}
    for database in databases:
        first.setdefault(key(database), database.file)
    return lambda database: first[key(database)]
