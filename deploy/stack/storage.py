"""Where a home's databases and artifacts are, remembered from one ``stemma up`` to the next.

A registry on PostgreSQL must be remembered when the stack is down: a command would silently create another on SQLite.
"""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from core import layout
from core.files import write_json
from core.workspace import sqlite_url
from deploy.stack import state, tokens

if TYPE_CHECKING:
    import psycopg

CONNECT_SECONDS = 10
SQLITE, LOCAL = "sqlite", "local"  # values of --database and --artifacts for the home itself
NAMES = ("prefect", "mlflow", "registry")


@dataclass(frozen=True)
class Storage:
    """The databases and the artifacts of a home.

    Attributes:
        database: ``postgresql://user@host/name``, never with a password; ``None`` for SQLite in the home.
        artifacts: ``s3://bucket/path``; ``None`` for a folder in the home.
    """

    database: str | None = None
    artifacts: str | None = None

    @classmethod
    def recall(cls, home: Path) -> Storage:
        """What the home's last stack used; SQLite and the home's own folder before the first."""
        try:
            return cls(**json.loads(layout.storage(home).read_text(encoding="utf-8")))
        except (FileNotFoundError, json.JSONDecodeError, TypeError):
            return cls()

    def remember(self, home: Path) -> None:
        """Record it for the next stack, and for commands until then."""
        if self != Storage.recall(home):
            write_json(layout.storage(home), asdict(self))

    def name_of(self, which: str) -> str:
        """Name in PostgreSQL of one of the three databases, each of :data:`NAMES`."""
        from sqlalchemy.engine import make_url

        return f"{make_url(self.database).database or 'stemma'}_{which}"

    def url(self, database: str, driver: str = "") -> str:
        """Address of a database of that name; ``driver`` is SQLAlchemy's, such as ``+asyncpg``."""
        from sqlalchemy.engine import make_url

        return make_url(self.database).set(drivername=f"postgresql{driver}", database=database).render_as_string()

    def mlflow_backend(self, home: Path) -> str:
        """MLflow's database: the one that ``stemma run`` uses where no server runs."""
        return (
            self.url(self.name_of("mlflow"), "+psycopg") if self.database else sqlite_url(layout.mlflow_database(home))
        )

    def artifact_root(self, home: Path) -> str:
        """Where the runs of new experiments keep their files: readable with the server and without it."""
        return self.artifacts.rstrip("/") if self.artifacts else layout.mlflow_artifacts(home).as_uri()

    def environment(self, home: Path) -> dict[str, str]:
        """What commands need to use the databases themselves; nothing where these are the home's own."""
        if self.database is None:
            return {}
        registry = self.url(self.name_of("registry"))
        return {"STEMMA_REGISTRY_URL": registry, "MLFLOW_TRACKING_URI": self.mlflow_backend(home)}


def problems_of(option: str, text: str) -> list[str]:
    """What is wrong with an address of PostgreSQL."""
    from sqlalchemy.engine import make_url
    from sqlalchemy.exc import ArgumentError

    try:
        url = make_url(text)
    except ArgumentError:
        return [f"{option}: not the address of a database; use postgresql://user@host/name, or {SQLITE}"]
    if url.drivername not in ("postgresql", "postgres"):
        return [f"{option} {url.drivername}: not supported; use postgresql://user@host/name, or {SQLITE}"]
    found = []
    if url.password is not None:
        found.append(
            f"{option}: every account of this machine can read a password on the command line; leave it out and set "
            "PGPASSWORD, or write it into ~/.pgpass"
        )
    if url.query:
        found.append(f"{option}: leave out {', '.join(url.query)}; set the PG… variables, such as PGSSLMODE, instead")
    return found


def create_databases(storage: Storage) -> list[str]:
    """Create the databases that are missing in PostgreSQL; the problems where they cannot be used.

    PostgreSQL's own variables apply: ``PGPASSWORD``, ``PGSSLMODE``, ``PGPASSFILE`` ...
    """
    import psycopg
    from psycopg import sql

    missing = []
    for which in NAMES:
        try:
            _connect(storage, storage.name_of(which)).close()
        except psycopg.OperationalError as error:
            if not _is_missing(error, storage.name_of(which)):
                return [_problem(storage, error)]
            missing.append(storage.name_of(which))
    if not missing:
        return []
    try:
        with _connect(storage, "postgres") as connection:
            for name in missing:
                connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
    except psycopg.Error as error:
        names = ", ".join(missing)
        return [f"{_problem(storage, error)}; create the missing databases yourself: {names}"]
    return []


def _connect(storage: Storage, name: str) -> psycopg.Connection:
    import psycopg

    return psycopg.connect(storage.url(name), autocommit=True, connect_timeout=CONNECT_SECONDS)


def _is_missing(error: psycopg.OperationalError, name: str) -> bool:
    # The server says so before there is a session, so without the code that names the error.
    return f'database "{name}" does not exist' in str(error)


def _problem(storage: Storage, error: psycopg.Error) -> str:
    words = " ".join(str(error).split()) or type(error).__name__
    return f"--database {storage.database}: {words}"


def use_stack(home: Path) -> None:
    """Use the servers of the stack that runs in the workspace's home, where the user named no others.

    Where none runs, the databases that the last one used: those of a home on PostgreSQL are not in the home.
    """
    stack = state.read(home)
    found = stack.environment if stack is not None else Storage.recall(home).environment(home)
    os.environ.update({name: value for name, value in found.items() if name not in os.environ})
    if stack is None:
        return
    # A token goes to the server that it is for, and not to another one that the user named.
    variables = {state.PREFECT: "PREFECT_API_URL", state.MLFLOW: "MLFLOW_TRACKING_URI"}
    used = {
        service: token
        for service, token in tokens.read(home).items()
        if service in variables and os.environ[variables[service]] == found[variables[service]]
    }
    os.environ.update(tokens.for_clients(used))
    if state.MLFLOW in used:  # its client prefers a name and a password, which are for another server
        for name in ("MLFLOW_TRACKING_USERNAME", "MLFLOW_TRACKING_PASSWORD"):
            os.environ.pop(name, None)
