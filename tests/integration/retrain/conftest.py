"""A quick workspace that has a champion, a real Prefect server with all its services, and somebody who is told."""

from __future__ import annotations

import contextlib
import http.server
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from core.environment import child_environment
from flows.pipeline.stage_process import end_group
from tests import warm
from tests.prefect_database import give
from tests.workspace import init_dvc

SOURCE = Path(__file__).with_name("workspace")
DECODER = Path(__file__).parents[2] / "tiny_decoder.py"
IGNORED = "/data/?*\n!/data/*.dvc\n/models/?*\n!/models/*.dvc\n/reports/\n/.stemma/\n__pycache__/\n"
DEADLINE = 240.0


@dataclass
class Told:
    """What a webhook's receiver got."""

    address: str
    bodies: list[dict[str, Any]] = field(default_factory=list)
    status: int = 200

    def of(self, event: str) -> list[dict[str, Any]]:
        return [body for body in self.bodies if body["event"] == event]


@dataclass
class Project:
    """A workspace that is driven by its command."""

    root: Path
    variables: dict[str, str]

    @property
    def home(self) -> Path:
        return self.root / ".stemma"

    @property
    def raw(self) -> Path:
        return self.root / "data" / "raw"

    def environment(self) -> dict[str, str]:
        environment = child_environment({"COLUMNS": "160"})
        for name in [name for name in environment if name.startswith(("STEMMA_", "MLFLOW_", "PREFECT_"))]:
            del environment[name]
        del environment["PYTHONSAFEPATH"]  # a person's shell has none
        return {**environment, "MLFLOW_DISABLE_TELEMETRY": "true", **self.variables}

    def run(self, *command: str, code: int = 0) -> str:
        done = subprocess.run(command, cwd=self.root, env=self.environment(), capture_output=True, text=True)
        assert done.returncode == code, f"{command} ended with {done.returncode}\n{done.stdout}\n{done.stderr}"
        return done.stderr if code else done.stdout

    def stemma(self, *arguments: str, code: int = 0) -> str:
        done = warm.stemma(*arguments, cwd=self.root, environment=self.environment())
        assert done.returncode == code, f"{arguments} ended with {done.returncode}\n{done.stdout}\n{done.stderr}"
        return done.stderr if code else done.stdout

    def json(self, *arguments: str) -> Any:
        return json.loads(self.stemma(*arguments, "--json"))

    def ran(self) -> list[str]:
        """``<run> <stage>`` of every stage that was really executed, oldest first."""
        log = self.home / "stages.log"
        return log.read_text().splitlines() if log.exists() else []

    def set(self, old: str, new: str) -> None:
        path = self.root / "params.yaml"
        assert old in path.read_text()
        path.write_text(path.read_text().replace(old, new))

    def tree(self) -> dict[str, bytes]:
        """Every file that is the user's own and not raw data, by path."""
        aside = {".git", ".dvc", ".stemma", "__pycache__"}
        files = [path for path in self.root.rglob("*") if path.is_file() and not aside & set(path.parts)]
        own = [path for path in files if not path.is_relative_to(self.raw) and path.name != "raw.dvc"]
        return {str(path.relative_to(self.root)): path.read_bytes() for path in own}


def write_rows(path: Path, quality: float, count: int = 10, word: str = "") -> Path:
    """A file of new rows; their texts are named by the file, or by ``word``."""
    path.parent.mkdir(parents=True, exist_ok=True)
    rows = [{"text": f"{word or path.stem} {number}", "quality": quality} for number in range(count)]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def wait_for(what: Callable[[], Any], why: str, seconds: float = DEADLINE) -> Any:
    deadline = time.monotonic() + seconds
    while not (found := what()):
        assert time.monotonic() < deadline, f"not within {seconds:.0f} s: {why}"
        time.sleep(0.5)  # the server works for every question
    return found


@pytest.fixture(scope="session")
def prefect_api(tmp_path_factory: pytest.TempPathFactory, prefect_database: Path) -> Iterator[str]:
    """Address of a Prefect server that schedules, and acts on events."""
    home = give(prefect_database, tmp_path_factory.mktemp("prefect"))
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port = listener.getsockname()[1]
    environment = child_environment({"PREFECT_HOME": str(home), "PREFECT_SERVER_UI_ENABLED": "false"})
    environment.pop("PREFECT_API_URL", None)
    command = [sys.executable, "-m", "prefect", "server", "start", "--host", "127.0.0.1", "--port", str(port)]
    with open(home / "log", "wb") as log:
        process = subprocess.Popen(command, env=environment, stdout=log, stderr=log, start_new_session=True)
    url = f"http://127.0.0.1:{port}/api"

    def answers() -> bool:
        assert process.poll() is None, (home / "log").read_text()[-3000:]
        with contextlib.suppress(OSError), urllib.request.urlopen(f"{url}/health", timeout=2):
            return True
        return False

    try:
        wait_for(answers, "the Prefect server answers")
        yield url
    finally:
        process.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(5)
        end_group(process)


@pytest.fixture(scope="session")
def told() -> Iterator[Told]:
    """Somebody who takes webhooks."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            receiver.bodies.append(json.loads(body))
            self.send_response(receiver.status)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    receiver = Told(f"http://127.0.0.1:{server.server_port}/hook/secret-of-the-address")
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield receiver
    server.shutdown()
    thread.join()


@pytest.fixture(scope="session")
def made(tmp_path_factory: pytest.TempPathFactory, prefect_api: str, told: Told) -> Project:
    """A workspace after its first run: base:1 and assistant:1 are champions. Copies are made of it."""
    root = tmp_path_factory.mktemp("made") / "workspace"
    shutil.copytree(SOURCE, root)
    shutil.copy(DECODER, root)
    # Under its real name DVC would take it for a part of this repository's own pipeline.
    (root / "pipeline.yaml").rename(root / "dvc.yaml")
    (root / ".gitignore").write_text(IGNORED)
    project = Project(root, {"PREFECT_API_URL": prefect_api, "TEST_WEBHOOK": told.address})
    write_rows(project.raw / "first.jsonl", 0.5, 40)
    init_dvc(root)
    for command in (
        ("git", "init", "-q", "-b", "main"),
        ("git", "config", "user.name", "Ada"),
        ("git", "config", "user.email", "ada@example.org"),
        ("git", "add", "-A"),
        ("git", "commit", "-qm", "A workspace"),
    ):
        project.run(*command)
    project.stemma("run", "--name", "first")
    return project


@pytest.fixture
def project(made: Project, tmp_path: Path, told: Told) -> Iterator[Project]:
    """A copy of the workspace of its own, and an empty list of what people were told."""
    shutil.copytree(made.root, tmp_path / "workspace", symlinks=True)
    told.bodies.clear()
    told.status = 200
    yield Project(tmp_path / "workspace", dict(made.variables))


@contextlib.contextmanager
def serving(project: Project, *command: str) -> Iterator[subprocess.Popen]:
    """A process of the workspace that runs until the block ends."""
    log = project.root.parent / "serving.log"
    with open(log, "wb") as file:
        process = subprocess.Popen(
            command, cwd=project.root, env=project.environment(), stdout=file, stderr=file, start_new_session=True
        )
    try:
        yield process
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.kill(process.pid, signal.SIGTERM)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(20)
        end_group(process)
