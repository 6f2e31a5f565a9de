"""A stack's settings, and every reason why it cannot be started with them."""

from __future__ import annotations

import os
import socket
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from urllib.parse import urlsplit

from core.network import http_url, is_loopback, port_problem
from deploy.gateway import api_keys
from deploy.stack import storage, tokens
from deploy.stack.state import MLFLOW, PREFECT
from deploy.stack.storage import Storage

_ANY = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # an address that means all, and one of them
SHORTEST_PASSWORD = 12  # characters; MLflow's own limit


@dataclass(frozen=True)
class StackSettings:
    """A stack's settings.

    Attributes:
        root: the workspace.
        home: its home, with databases and logs.
        environment: what the services' own variables are chosen from; secrets of the user's come in no other way.
        made_tokens: a random token for each service; those that are used are :attr:`tokens`.
    """

    root: Path
    home: Path
    host: str = "127.0.0.1"
    prefect_port: int = 4200
    mlflow_port: int = 5000
    gateway_port: int = 8000
    console_port: int = 8001
    storage: Storage = field(default_factory=Storage)
    environment: Mapping[str, str] = field(default_factory=lambda: dict(os.environ))
    made_tokens: Mapping[str, str] = field(default_factory=tokens.make, repr=False)

    @property
    def exposed(self) -> bool:
        """Whether other machines can reach it."""
        return not is_loopback(self.host)

    @property
    def mlflow_accounts(self) -> bool:
        """Whether MLflow wants a name and a password: always when exposed, else where its variables are set."""
        named = ("MLFLOW_AUTH_ADMIN_PASSWORD", "MLFLOW_FLASK_SERVER_SECRET_KEY")
        return self.exposed or all(self.environment.get(name) for name in named)

    @property
    def tokens(self) -> dict[str, str]:
        """Service to token, and the browser's: on loopback, for those that ask for no password of the user's own."""
        own = {PREFECT: bool(self.environment.get("PREFECT_SERVER_API_AUTH_STRING")), MLFLOW: self.mlflow_accounts}
        return {
            name: token for name, token in self.made_tokens.items() if not self.exposed and not own.get(name, False)
        }

    def hosts(self, port: int) -> list[str]:
        """``host:port`` by which a service on loopback may be called; ``STEMMA_ALLOWED_HOSTS`` names a proxy's too."""
        names = dict.fromkeys((urlsplit(self.url(port)).netloc, f"localhost:{port}"))
        given = self.environment.get("STEMMA_ALLOWED_HOSTS", "").split(",")
        return [*names, *(name.strip() for name in given if name.strip())]

    def url(self, port: int) -> str:
        """Where this machine's own clients find a service."""
        return http_url(_ANY.get(self.host, self.host), port)

    def browser_url(self, port: int) -> str:
        """Where a browser finds a service, also one on another machine where there may be one."""
        return http_url(socket.gethostname() if self.host in _ANY else self.host, port)

    def problems(self) -> list[str]:
        """Every reason not to start, each with the next step. Changes nothing, but creates missing databases."""
        wanted = {
            "--prefect-port": self.prefect_port,
            "--mlflow-port": self.mlflow_port,
            "--gateway-port": self.gateway_port,
            "--console-port": self.console_port,
        }
        found = [text for option, port in wanted.items() if (text := port_problem(option, self.host, port))]
        for option, port in wanted.items():
            if same := [other for other in wanted if other < option and wanted[other] == port]:
                found.append(f"{option} {port} is also the port of {same[0]}; choose another")
        found = list(dict.fromkeys(found))
        if self.exposed:
            found += self._missing_secrets()
        found += self._problems_of_artifacts()
        if self.storage.database is not None:
            refused = storage.problems_of("--database", self.storage.database)
            # The databases are created last, when no other problem is left.
            found += refused or ([] if found else storage.create_databases(self.storage))
        return found

    def _missing_secrets(self) -> list[str]:
        """What has to be set before other machines may reach the services."""
        found, given = [], self.environment
        beyond = f"--host {self.host} opens the services to other machines"
        auth = given.get("PREFECT_SERVER_API_AUTH_STRING", "")
        if ":" not in auth or len(auth) < SHORTEST_PASSWORD:
            found.append(
                f"{beyond}: set PREFECT_SERVER_API_AUTH_STRING to user:password ({SHORTEST_PASSWORD} characters or "
                "more), and PREFECT_API_AUTH_STRING to the same for its users"
            )
        elif given.get("PREFECT_API_AUTH_STRING", auth) != auth:
            found.append("PREFECT_API_AUTH_STRING is not PREFECT_SERVER_API_AUTH_STRING; set it to the same")
        if len(given.get("MLFLOW_AUTH_ADMIN_PASSWORD", "")) < SHORTEST_PASSWORD:
            found.append(f"{beyond}: set MLFLOW_AUTH_ADMIN_PASSWORD ({SHORTEST_PASSWORD} characters or more)")
        if len(given.get("MLFLOW_FLASK_SERVER_SECRET_KEY", "")) < SHORTEST_PASSWORD:
            found.append(
                f"{beyond}: set MLFLOW_FLASK_SERVER_SECRET_KEY, such as to the output of `openssl rand -hex 32`"
            )
        try:
            if not api_keys.load(self.home):
                found.append(
                    f"{beyond}: make a key for the gateway with `stemma keys add NAME`, or set STEMMA_API_KEYS"
                )
        except api_keys.KeysProblem as problem:
            found.append(str(problem))
        return found

    def _problems_of_artifacts(self) -> list[str]:
        if self.storage.artifacts is None:
            return []
        address = urlsplit(self.storage.artifacts)
        if address.scheme != "s3" or not address.netloc:
            return [f"--artifacts {self.storage.artifacts}: use s3://bucket/path"]
        if find_spec("boto3") is None:
            return ["--artifacts s3://… needs boto3; install Stemma with it: pip install 'stemma-llm[s3]'"]
        return []
