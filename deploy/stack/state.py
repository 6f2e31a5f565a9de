"""The stack that runs in a workspace: one file that its supervisor writes and everybody may read."""

from __future__ import annotations

import contextlib
import json
import os
import tempfile
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import psutil

PREFECT, MLFLOW, DEPLOYMENTS, GATEWAY = "prefect", "mlflow", "deployments", "gateway"
_CLOCK_SECONDS = 2.0  # how far two readings of a process's birth may lie apart


@dataclass(frozen=True)
class ServiceState:
    """One service of the stack.

    Attributes:
        url: where it answers; ``None`` for one that listens nowhere.
        state: ``waiting``, ``starting``, ``healthy``, ``unwell`` (does not answer), ``restarting`` or ``stopping``.
        restarts: how often it was started again since the stack came up.
        note: why it is in that state, where there is something to tell.
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
        body = json.loads(_file(home).read_text(encoding="utf-8"))
        services = tuple(ServiceState(**service) for service in body.pop("services"))
        stack = Stack(**body, services=services)
    except (FileNotFoundError, json.JSONDecodeError, AttributeError, TypeError, KeyError):
        return None
    return stack if lives(stack) else None


def write(home: Path, stack: Stack) -> None:
    """Replace the file; a reader sees the old one or the new one, whole."""
    replace_json(_file(home), asdict(stack))


def remove(home: Path) -> None:
    """Say that nothing runs any more."""
    _file(home).unlink(missing_ok=True)


def replace_json(path: Path, body: Any) -> None:
    """Write JSON that a reader, or a crash at any moment, never finds half done."""
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            json.dump(body, file, indent=2)
            file.flush()
            os.fsync(file.fileno())
        os.replace(name, path)
    except BaseException:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(name)
        raise


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


def _file(home: Path) -> Path:
    return home / "stack.json"
