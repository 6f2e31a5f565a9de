"""The stack that runs in a workspace: one file that its supervisor writes and any command may read."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path

import psutil

from core import layout
from core.files import write_json

PREFECT, MLFLOW, DEPLOYMENTS, GATEWAY, CONSOLE = "prefect", "mlflow", "deployments", "gateway", "console"
_CLOCK_SECONDS = 2.0  # how far two readings of a process's birth may lie apart


@dataclass(frozen=True)
class ServiceState:
    """One service of the stack.

    Attributes:
        url: where it answers; ``None`` for one that listens nowhere.
        state: ``waiting``, ``starting``, ``healthy``, ``unhealthy`` (does not answer), ``restarting`` or ``stopping``.
        restarts: how often it was restarted since the stack came up.
        note: why it is in that state, where there is a reason to show.
    """

    name: str
    url: str | None
    pid: int | None
    state: str
    log: str
    restarts: int = 0
    note: str = ""


@dataclass(frozen=True)
class Stack:
    """A running stack.

    Attributes:
        pid: its supervisor's process.
        born: when that process was started, in seconds since the epoch: process ids are used again.
        host: what its services listen on.
        environment: what commands need to use it: ``PREFECT_API_URL``, ``MLFLOW_TRACKING_URI`` and, where the databases
            are not the workspace's own, ``STEMMA_REGISTRY_URL``. Never a secret.
    """

    pid: int
    born: float
    host: str
    environment: dict[str, str]
    services: tuple[ServiceState, ...] = field(default_factory=tuple)

    @property
    def healthy(self) -> bool:
        """True when every service is."""
        return all(service.state == "healthy" for service in self.services)

    def service(self, name: str) -> ServiceState:
        """The service of that name.

        Raises:
            KeyError: the stack has none.
        """
        for service in self.services:
            if service.name == name:
                return service
        raise KeyError(name)

    @property
    def prefect_api_url(self) -> str:
        """What ``PREFECT_API_URL`` has to be to use its Prefect server."""
        return self.environment["PREFECT_API_URL"]

    @property
    def mlflow_uri(self) -> str:
        """What ``MLFLOW_TRACKING_URI`` has to be to use its MLflow."""
        return self.environment["MLFLOW_TRACKING_URI"]

    @property
    def gateway_url(self) -> str | None:
        """Where its gateway answers, such as ``http://127.0.0.1:8000``."""
        return self.service(GATEWAY).url


def read(home: Path) -> Stack | None:
    """The stack that runs in a workspace's home; ``None`` where none does, or where its supervisor was killed."""
    try:
        body = json.loads(layout.stack_state(home).read_text(encoding="utf-8"))
        services = tuple(ServiceState(**service) for service in body.pop("services"))
        stack = Stack(**body, services=services)
    except (FileNotFoundError, json.JSONDecodeError, AttributeError, TypeError, KeyError):
        return None
    return stack if lives(stack) else None


def write(home: Path, stack: Stack) -> None:
    """Replace the file; a reader sees the old one or the new one, whole."""
    write_json(layout.stack_state(home), asdict(stack))


def remove(home: Path) -> None:
    """Say that nothing runs any more."""
    layout.stack_state(home).unlink(missing_ok=True)


def born(pid: int) -> float | None:
    """When a living process was started, in seconds since the epoch; ``None`` where there is none of that id."""
    try:
        process = psutil.Process(pid)
        return None if process.status() == psutil.STATUS_ZOMBIE else process.create_time()
    except psutil.Error:
        return None


def lives(stack: Stack) -> bool:
    """Whether a stack's supervisor, and not another process of its number, is still there."""
    found = born(stack.pid)
    return found is not None and abs(found - stack.born) < _CLOCK_SECONDS
