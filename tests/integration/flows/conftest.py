"""A small workspace, a real Prefect server for the session, and the command as a process."""

from __future__ import annotations

import contextlib
import json
import shutil
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import psutil
import pytest

from core.environment import child_environment
from flows.prefect_server import local_server
from tests import warm
from tests.prefect_database import give
from tests.workspace import init_dvc

SOURCE = Path(__file__).with_name("workspace")
IGNORED = "/data/?*\n!/data/*.dvc\n/models/?*\n!/models/*.dvc\n/reports/\n/.stemma/\n__pycache__/\n"


@dataclass
class ToyWorkspace:
    """A workspace in a temporary folder."""

    root: Path
    behave: Path
    api_url: str | None

    @property
    def home(self) -> Path:
        return self.root / ".stemma"

    def environment(self) -> dict[str, str]:
        extra = {"TOY_BEHAVE": str(self.behave), "COLUMNS": "160"}
        environment = child_environment(extra)
        environment.pop("PYTHONSAFEPATH")  # a person's shell has none
        for name in ("STEMMA_HOME", "STEMMA_RUN", "MLFLOW_TRACKING_URI", "PREFECT_API_URL", "STEMMA_REGISTRY_URL"):
            environment.pop(name, None)
        return environment | ({"PREFECT_API_URL": self.api_url} if self.api_url else {})

    def start(self, *arguments: str, cwd: Path | None = None) -> subprocess.Popen:
        return subprocess.Popen(
            [sys.executable, "-m", "cli", *arguments],
            cwd=cwd or self.root,
            env=self.environment(),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )

    def stemma(self, *arguments: str, code: int = 0, cwd: Path | None = None) -> str:
        """Standard output (of a failure: standard error) of the command, which must end with ``code``."""
        done = warm.stemma(*arguments, cwd=cwd or self.root, environment=self.environment())
        assert done.returncode == code, f"exit code {done.returncode}\n{done.stdout}\n{done.stderr}"
        return done.stderr if code else done.stdout

    def run_shell(self, *command: str) -> str:
        done = subprocess.run(command, cwd=self.root, env=self.environment(), capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def told(self, slug: str, behaviour: str, text: str = "") -> None:
        """Tell a stage how to behave."""
        self.behave.mkdir(exist_ok=True)
        (self.behave / f"{slug}.{behaviour}").write_text(text or "yes")

    def receipt(self, slug: str) -> dict:
        return json.loads((self.root / "receipts" / f"{slug}.json").read_text())

    def tree(self) -> dict[str, bytes]:
        """Every file that is the user's own, by path."""
        own = [
            path
            for path in self.root.rglob("*")
            if path.is_file()
            and not {".git", ".dvc", ".stemma", "__pycache__"} & set(path.relative_to(self.root).parts)
        ]
        return {str(path.relative_to(self.root)): path.read_bytes() for path in own}

    def processes(self) -> list[psutil.Process]:
        """Everything that works in the workspace now."""
        found = []
        for process in psutil.process_iter():
            try:
                if process.status() != psutil.STATUS_ZOMBIE and Path(process.cwd()).is_relative_to(self.root):
                    found.append(process)
            except (psutil.Error, OSError):
                continue
        return found

    def commands(self) -> dict[int, list[str]]:
        """Command lines of everything that works in the workspace now, by process; without those that end meanwhile."""
        found = {}
        for process in self.processes():
            with contextlib.suppress(psutil.Error):
                # A forked one says its command line as one word.
                found[process.pid] = " ".join(process.cmdline()).split()
        return found

    def wait_for_process_of(self, slug: str, timeout: float = 120) -> None:
        """Until the stage's own process runs, and minds signals."""
        deadline, pid = time.monotonic() + timeout, self.home / f"{slug}.pid"
        while not (pid.exists() and pid.read_text()):
            assert time.monotonic() < deadline, f"{slug} did not start"
            time.sleep(0.1)

    def wait_for_silence(self, timeout: float = 60) -> None:
        """Until nothing works in the workspace any more."""
        deadline = time.monotonic() + timeout
        while left := self.processes():
            assert time.monotonic() < deadline, [process.cmdline() for process in left]
            time.sleep(0.1)


@pytest.fixture(scope="session")
def prefect_api(tmp_path_factory, prefect_database):
    """Address of a real Prefect server."""
    with (
        local_server(give(prefect_database, tmp_path_factory.mktemp("prefect"))) as server,
        pytest.MonkeyPatch.context() as patch,
    ):
        patch.setenv("PREFECT_API_AUTH_STRING", server.auth)
        yield server.wait()


def make_workspace(root: Path) -> None:
    shutil.copytree(SOURCE, root)
    shutil.copy(Path(__file__).parents[2] / "tiny_decoder.py", root / "tiny_decoder.py")
    # Under its real name DVC would take it for a part of this repository's own pipeline.
    (root / "pipeline.yaml").rename(root / "dvc.yaml")
    (root / "code").mkdir()
    (root / "code" / "pretrain.txt").write_text("first version\n")
    (root / ".gitignore").write_text(IGNORED)
    environment = child_environment()
    init_dvc(root)
    for command in (
        ["git", "init", "-q", "."],
        ["git", "add", "-A"],
        ["git", "-c", "user.name=t", "-c", "user.email=t@t", "commit", "-qm", "start"],
    ):
        subprocess.run(command, cwd=root, env=environment, check=True, capture_output=True)


@pytest.fixture(scope="session")
def first_run(tmp_path_factory, prefect_api):
    """(a workspace after its first `stemma run`, what was printed). Not to be changed: copies are made of it."""
    folder = tmp_path_factory.mktemp("first")
    make_workspace(folder / "ws")
    workspace = ToyWorkspace(folder / "ws", folder / "behave", prefect_api)
    return workspace, workspace.stemma("run", "--name", "first")


@pytest.fixture
def workspace(first_run, tmp_path, prefect_api):
    """A workspace in which everything ran once."""
    shutil.copytree(first_run[0].root, tmp_path / "ws", symlinks=True)
    toy = ToyWorkspace(tmp_path / "ws", tmp_path / "behave", prefect_api)
    yield toy
    for process in toy.processes():
        process.kill()


@pytest.fixture
def unjudged(workspace):
    """The same, and no model of it is put before the gate: trying one takes longer than a run."""
    params = workspace.root / "params.yaml"
    text = params.read_text()
    params.write_text(text[: text.index("promotion:")])
    yield workspace


@pytest.fixture
def empty_workspace(tmp_path, prefect_database):
    """A fresh clone, and no Prefect server but the command's own."""
    make_workspace(tmp_path / "ws")
    give(prefect_database, tmp_path / "ws" / ".stemma" / "prefect")
    toy = ToyWorkspace(tmp_path / "ws", tmp_path / "behave", None)
    yield toy
    for process in toy.processes():
        process.kill()
