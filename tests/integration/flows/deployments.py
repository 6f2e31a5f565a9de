"""A Prefect server with all its services, and the process that serves a workspace's deployments, as a team has them."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import psutil

from core.environment import child_environment
from flows.pipeline.stage_process import end_group
from tests.integration.flows.conftest import ToyWorkspace
from tests.prefect_api import Refused, ask

SERVER = {
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    "PREFECT_SERVER_LOGGING_LEVEL": "WARNING",
}


@dataclass
class Deployments:
    """A server, a workspace, and what runs the runs."""

    api: str
    workspace: ToyWorkspace
    log: Path
    process: subprocess.Popen | None = None
    ids: dict[str, str] = field(default_factory=dict)

    def start(self) -> None:
        """Start ``python -m flows.deployments`` and wait until it asks for work."""
        known = self._polled()
        environment = {**self.workspace.environment(), "PREFECT_API_URL": self.api}
        environment["PREFECT_HOME"] = str(self.log.parent / "prefect")
        with open(self.log, "ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "flows.deployments"],
                cwd=self.workspace.root, env=environment, stdout=log, stderr=log, start_new_session=True,
            )  # fmt: skip
        self.wait(lambda: self._polled() not in (None, known), "the deployments are served", self._dead)

    def stop(self, number: int = signal.SIGTERM) -> None:
        if self.process is not None and self.process.poll() is None:
            self.process.send_signal(number)
            self.process.wait(120)

    def call(self, path: str, body: dict | None = None, method: str = "POST") -> dict | list:
        """An answer of the server's API."""
        return ask(self.api, path, body, method)

    def deployment(self, name: str) -> dict:
        return self.call(f"/deployments/name/{name}/{name}", method="GET")

    def run(self, name: str, **parameters) -> str:
        """Ask for a run, as the UI does; its id."""
        body = {"parameters": parameters, "state": {"type": "SCHEDULED"}}
        return self.call(f"/deployments/{self.deployment(name)['id']}/create_flow_run", body)["id"]

    def state(self, run: str) -> dict:
        return self.call(f"/flow_runs/{run}", method="GET")["state"]

    def until(self, run: str, *names: str, seconds: float = 180) -> dict:
        """Wait until the run is in a state of that name; any other final state is a failure."""

        def reached() -> dict | None:
            state = self.state(run)
            if state["name"] in names:
                return state
            final = state["type"] in ("COMPLETED", "FAILED", "CRASHED", "CANCELLED")
            assert not final, f"{state['name']}: {state['message']}\n{self.logs(run)}"
            return None

        return self.wait(reached, f"{run} is {names}", lambda: None, seconds)

    def logs(self, run: str) -> str:
        found = self.call("/logs/filter", {"logs": {"flow_run_id": {"any_": [run]}}, "sort": "TIMESTAMP_ASC"})
        return "\n".join(each["message"] for each in found)

    def tasks(self, run: str) -> dict[str, dict]:
        """The run's task runs, by name."""
        found = self.call("/task_runs/filter", {"flow_runs": {"id": {"any_": [run]}}, "limit": 200})
        return {each["name"]: each for each in found}

    def artifacts(self, run: str) -> dict[str, dict]:
        """The run's artifacts, by key."""
        found = self.call("/artifacts/filter", {"flow_runs": {"id": {"any_": [run]}}, "limit": 200})
        return {each["key"]: each for each in found}

    def flow_process(self, run: str) -> psutil.Process:
        """The process that works for a run."""
        for process in psutil.Process(self.process.pid).children():
            with contextlib.suppress(psutil.Error):
                if process.environ().get("PREFECT__FLOW_RUN_ID") == run:
                    return process
        raise AssertionError(f"no process works for {run}")

    def wait(self, condition, what: str, failed=lambda: None, seconds: float = 180):
        """Poll until it is true; its value. Not often: the server works for every question."""
        deadline = time.monotonic() + seconds
        while not (value := condition()):
            assert time.monotonic() < deadline, f"{what}: not within {seconds} s\n{self._tail()}"
            failed()
            time.sleep(0.5)
        return value

    def _polled(self) -> str | None:
        try:
            return self.deployment("sync").get("last_polled")
        except Refused:
            return None

    def _dead(self) -> None:
        assert self.process.poll() is None, self._tail()

    def _tail(self) -> str:
        return self.log.read_text(errors="replace")[-4000:] if self.log.exists() else ""


@contextlib.contextmanager
def deployments(workspace: ToyWorkspace, folder: Path) -> Iterator[Deployments]:
    """A server of its own, and the workspace's deployments at it."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port = listener.getsockname()[1]
    environment = child_environment({**SERVER, "PREFECT_HOME": str(folder / "server")})
    environment.pop("PREFECT_API_URL", None)
    with open(folder / "server.log", "wb") as log:
        server = subprocess.Popen(
            [sys.executable, "-m", "prefect", "server", "start", "--host", "127.0.0.1", "--port", str(port)],
            env=environment, stdout=log, stderr=log, start_new_session=True,
        )  # fmt: skip
    found = Deployments(f"http://127.0.0.1:{port}/api", workspace, folder / "deployments.log")
    try:
        found.wait(lambda: _answers(found.api), "the server answers")
        found.start()
        yield found
    finally:
        found.stop()
        for process in workspace.processes():
            with contextlib.suppress(psutil.Error):
                process.kill()
        server.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            server.wait(20)
        end_group(server)


def _answers(api: str) -> bool:
    with contextlib.suppress(OSError), urllib.request.urlopen(f"{api}/health", timeout=2):
        return True
    return False


def both_killed(served: Deployments, run: str) -> None:
    """kill -9 of the serving process and of the run's own, at once: nobody is left to tell what happened."""
    process = served.flow_process(run)
    process.suspend()  # or it would hear of its starter's death first, and say so itself
    os.kill(served.process.pid, signal.SIGKILL)
    process.kill()
    served.process.wait()
