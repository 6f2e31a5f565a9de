"""A real stack in a workspace: ``stemma up`` on free ports, for tests that need its servers."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

from deploy.stack import state, tokens
from tests.prefect_api import ask
from tests.workspace import Workspace, wait_until

READY_SECONDS = 300  # of a loaded machine; an idle one needs a tenth of it


@dataclass
class RunningStack:
    """``stemma up`` in a workspace."""

    workspace: Workspace
    process: subprocess.Popen[str]

    @property
    def now(self) -> state.Stack:
        """The stack as its file has it."""
        found = state.read(self.workspace.home)
        assert found is not None, "the stack has ended"
        return found

    def prefect(self, path: str, body: Any) -> Any:
        """The answer of its Prefect server's API to a POST."""
        return ask(self.now.prefect_api_url, path, body, auth=f"ada:{self.tokens['prefect']}")

    @property
    def tokens(self) -> dict[str, str]:
        """Service to token, as its file has them."""
        return tokens.read(self.workspace.home)

    def link(self, service: str) -> str:
        """What a person opens to see a service's pages."""
        return tokens.links(self.now, self.tokens)[service]

    def wait_until_healthy(self) -> state.Stack:
        def settled() -> bool:
            found = state.read(self.workspace.home)
            return self.process.poll() is not None or (found is not None and found.healthy)

        wait_until(settled, READY_SECONDS, "a healthy stack")
        assert self.process.poll() is None, log_of(self.workspace)
        return self.now


def free_ports(count: int) -> list[int]:
    """Different ports that nobody has."""
    with contextlib.ExitStack() as stack:
        listeners = [stack.enter_context(socket.socket()) for _ in range(count)]
        for listener in listeners:
            listener.bind(("127.0.0.1", 0))
        return [listener.getsockname()[1] for listener in listeners]


def port_options() -> list[str]:
    """Options of ``stemma up`` that give each service a free port."""
    names = ("--prefect-port", "--mlflow-port", "--gateway-port", "--console-port")
    return [part for name, port in zip(names, free_ports(len(names)), strict=True) for part in (name, str(port))]


@contextlib.contextmanager
def stack(workspace: Workspace, *options: str, **environment: str) -> Iterator[RunningStack]:
    """A healthy stack of the workspace's own code; it has ended when the block ends."""
    log = log_file(workspace)
    with open(log, "w") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "cli", "up", *port_options(), *options],
            cwd=workspace.root,
            env={**workspace.environment, **environment},
            stdout=output,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
    try:
        wait_until(lambda: process.poll() is not None or state.read(workspace.home), 120, "a stack")
        assert process.poll() is None, log_of(workspace)
        running = RunningStack(workspace, process)
        running.wait_until_healthy()
        yield running
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.send_signal(signal.SIGTERM)
        process.wait(120)


def log_file(workspace: Workspace) -> Path:
    return workspace.root.parent / f"{workspace.root.name}.up.log"


def log_of(workspace: Workspace) -> str:
    """What ``stemma up`` and its services have printed last."""
    logs = [log_file(workspace), *sorted((workspace.home / "logs").glob("*.log"))]
    return "\n".join(f"--- {log.name}\n{log.read_text(errors='replace')[-3000:]}" for log in logs if log.exists())


def processes_of(workspace: Workspace) -> list[str]:
    """Command lines of living processes that belong to the workspace by folder, environment or arguments."""
    found, root = [], str(workspace.root)
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error, OSError):
            if process.pid == os.getpid() or process.status() == psutil.STATUS_ZOMBIE:
                continue
            line = " ".join(process.cmdline())
            told = " ".join(
                value for name, value in process.environ().items() if name in ("SUPERVISED_BY", "STEMMA_HOME")
            )
            if process.cwd() == root or root in line or root in told:
                found.append(f"{process.pid} {line}")
    return found
