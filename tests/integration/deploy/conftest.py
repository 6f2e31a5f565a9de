"""A PostgreSQL that asks for a password, an S3 store, and a workspace whose pipeline ran once."""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from pathlib import Path

import psycopg
import pytest
from sqlalchemy.engine import make_url

from tests.integration.deploy.lived import lived, promoted  # noqa: F401  (fixtures)
from tests.integration.registry.conftest import _quiet, made, postgresql, project  # noqa: F401  (fixtures)
from tests.s3 import credentials, storage  # noqa: F401  (fixtures)
from tests.workspace import wait_until


@dataclass(frozen=True)
class Server:
    """A database server on loopback whose user ``stemma`` has to show a password."""

    port: int
    password: str

    def url(self, database: str, driver: str = "") -> str:
        """Without the password: ``PGPASSWORD`` has it."""
        return f"postgresql{driver}://stemma@127.0.0.1:{self.port}/{database}"

    def connect(self, database: str = "postgres") -> psycopg.Connection:
        return psycopg.connect(self.url(database), password=self.password, autocommit=True)

    def create(self, *names: str) -> None:
        with self.connect() as connection:
            for name in names:
                connection.execute(f'CREATE DATABASE "{name}"')


@pytest.fixture(scope="session")
def registry_url() -> None:
    """The project's registry is on SQLite unless a test says otherwise."""


@pytest.fixture(scope="session")
def server(postgresql: str) -> Server:  # noqa: F811
    """The throwaway cluster, its connections asked for a password from here on."""
    password, port = secrets.token_hex(16), make_url(postgresql).port
    with psycopg.connect(f"{postgresql}/postgres", autocommit=True) as connection:
        connection.execute(f"ALTER ROLE stemma PASSWORD '{password}'")
        (path,) = connection.execute("SHOW hba_file").fetchone()
        rules = Path(path).read_text()
        Path(path).write_text(f"host all all 127.0.0.1/32 scram-sha-256\n{rules}")
        connection.execute("SELECT pg_reload_conf()")
    asked = Server(port, password)
    wait_until(lambda: _refused(asked), what="the server asks for a password")
    return asked


def _refused(server: Server) -> bool:
    try:
        psycopg.connect(server.url("postgres"), password="wrong").close()
    except psycopg.OperationalError:
        return True
    return False
