"""A PostgreSQL that asks for a password, an S3 store, and a workspace whose pipeline ran once."""

from __future__ import annotations

import secrets
import socket
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import psycopg
import pytest
from sqlalchemy.engine import make_url

from core.network import free_port
from tests.integration.deploy.lived import lived, promoted  # noqa: F401  (fixtures)
from tests.integration.registry.conftest import _quiet, made, postgresql, project  # noqa: F401  (fixtures)
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


@pytest.fixture(scope="session")
def storage(tmp_path_factory) -> Iterator[str]:
    """URL of an S3-compatible server."""
    port = free_port()
    log = tmp_path_factory.mktemp("storage") / "log"
    with open(log, "w") as file:
        command = [sys.executable, "-m", "moto.server", "--host", "127.0.0.1", "--port", str(port)]
        process = subprocess.Popen(command, stdout=file, stderr=file)
    try:

        def listens() -> bool:
            assert process.poll() is None, log.read_text()
            with socket.socket() as probe:
                return probe.connect_ex(("127.0.0.1", port)) == 0

        wait_until(listens, timeout=60, what="the S3 server listens")
        yield f"http://127.0.0.1:{port}"
    finally:
        process.kill()
        process.wait()


@pytest.fixture
def credentials(storage: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """What clients of the store read."""
    monkeypatch.setenv("AWS_ENDPOINT_URL", storage)
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "key")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
