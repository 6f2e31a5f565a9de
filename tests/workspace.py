"""Real workspaces in temporary folders: git, DVC and the code of this checkout, under a home of their own."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path

import psutil

from tests import warm_python

REPOSITORY = Path(__file__).resolve().parent.parent
SHIPPED = (
    "core",
    "components",
    "registry",
    "deploy",
    "flows",
    "cli",
    "recipes",
    "dvc.yaml",
    "params.yaml",
    "prefect.yaml",
    ".dvcignore",
    ".gitignore",
)


@dataclass
class Workspace:
    """A workspace's root and the environment in which its commands run."""

    root: Path
    environment: dict[str, str] = field(default_factory=dict)

    @property
    def home(self) -> Path:
        return self.root / ".stemma"

    def run(self, *command: str | Path, check: bool = True, timeout: float = 300, **environment: str
            ) -> subprocess.CompletedProcess[str]:  # fmt: skip
        """Run a command to its end in the workspace; a failure shows what it printed."""
        words, environment = [str(part) for part in command], {**self.environment, **environment}
        if words[:2] == [sys.executable, "-m"]:
            done = warm_python.run(words[2], words[3:], cwd=self.root, env=environment, timeout=timeout)
        else:
            done = subprocess.run(
                words, cwd=self.root, env=environment, capture_output=True, text=True, timeout=timeout, check=False
            )
        if check and done.returncode:
            raise AssertionError(
                f"{command} ended with {done.returncode}\n{done.stdout[-4000:]}\n{done.stderr[-8000:]}"
            )
        return done

    def start(self, *command: str | Path, **environment: str) -> subprocess.Popen[str]:
        """Start a command in the workspace, in a process group of its own; its output goes to files beside it."""
        log = self.root.parent / f"{self.root.name}.{Path(str(command[0])).name}.log"
        with open(log, "a") as file:
            return subprocess.Popen(
                [str(part) for part in command], cwd=self.root, env={**self.environment, **environment},
                stdout=file, stderr=file, text=True, start_new_session=True,
            )  # fmt: skip

    def stage(self, name: str, **options) -> subprocess.CompletedProcess[str]:
        return self.run(sys.executable, "-m", "components", name, **options)

    def dvc(self, *arguments: str, **options) -> subprocess.CompletedProcess[str]:
        if arguments[0] != "repro":
            return self.run(sys.executable, "-m", "dvc", *arguments, **options)
        if "STEMMA_RUN" in options:  # as `stemma run` has it done, in forked processes
            return self.run(sys.executable, "-m", "core.guarded_dvc", *arguments, **options)
        # A stage's own run is named by the process above it: that of a bare `dvc repro` has to be one that was started.
        return self.run(self.tool("dvc"), *arguments, **options)

    def tool(self, name: str) -> Path:
        """An installed command beside the running interpreter."""
        return Path(sys.executable).with_name(name)

    def git(self, *arguments: str, **options) -> str:
        return self.run("git", *arguments, **options).stdout.strip()

    def copy_to(self, folder: Path) -> Workspace:
        """The same workspace in another folder, with a home and a DVC site cache of its own."""
        shutil.copytree(self.root, folder, symlinks=True)
        site = str(folder.parent / f"{folder.name}-dvc-site")
        return Workspace(folder, {**self.environment, "DVC_SITE_CACHE_DIR": site})

    def commit(self, message: str = "change") -> None:
        self.git("add", "-A")
        self.git("commit", "-qm", message, "--allow-empty")


def make_workspace(folder: Path) -> Workspace:
    """A committed workspace with this checkout's code, empty ``data/raw`` and ``models/parent``, and no outputs."""
    folder.mkdir(parents=True)
    for name in SHIPPED:
        source = REPOSITORY / name
        if source.is_dir():
            # With its bytecode, which is valid there too; what numba has compiled is not.
            shutil.copytree(source, folder / name, ignore=shutil.ignore_patterns("compiled-*"))
        elif source.exists():
            shutil.copy(source, folder / name)
    (folder / "data" / "raw").mkdir(parents=True)
    (folder / "models" / "parent").mkdir(parents=True)
    inherited = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("STEMMA_", "MLFLOW_", "PREFECT_", "DVC_", "GIT_"))
    }
    workspace = Workspace(
        folder,
        {
            **inherited,
            "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]]),
            "GIT_AUTHOR_NAME": "Ada", "GIT_AUTHOR_EMAIL": "ada@example.org",
            "GIT_COMMITTER_NAME": "Ada", "GIT_COMMITTER_EMAIL": "ada@example.org",
            "DVC_NO_ANALYTICS": "1", "DO_NOT_TRACK": "1", "PYTHONDONTWRITEBYTECODE": "1",
            # A site cache of its own, as on a machine of its own.
            "DVC_SITE_CACHE_DIR": str(folder.parent / f"{folder.name}-dvc-site"),
        },
    )  # fmt: skip
    workspace.git("init", "-q", "-b", "main")
    init_dvc(folder)
    workspace.commit("workspace")
    return workspace


def init_dvc(folder: Path) -> None:
    """What `dvc init` writes, without the second that it takes to start."""
    (folder / ".dvc").mkdir()
    (folder / ".dvc" / "config").write_text("[core]\n    analytics = false\n")
    (folder / ".dvc" / ".gitignore").write_text("/config.local\n/tmp\n/cache\n")


def alive(marker: str) -> list[str]:
    """Command lines of living processes that mention ``marker``; zombies do not count as alive."""
    found = []
    for process in psutil.process_iter(["cmdline", "status"]):
        line = " ".join(process.info["cmdline"] or [])
        if marker in line and process.info["status"] != psutil.STATUS_ZOMBIE and process.pid != os.getpid():
            found.append(line)
    return found


def wait_until(condition, timeout: float = 60, what: str = "the condition", every: float = 0.05):
    """Poll ``condition`` until it is true, and return its value.

    Args:
        every: seconds between polls; more for a condition that has a server work.
    """
    deadline = time.monotonic() + timeout
    while time.monotonic() < deadline:
        if value := condition():
            return value
        time.sleep(every)
    raise AssertionError(f"{what} did not come true within {timeout} s")


def add_component(workspace: Workspace, name: str, init: str, parameters: str, stage: str) -> Path:
    """Put a component beside the shipped ones; returns its folder."""
    folder = workspace.root / "components" / name
    folder.mkdir()
    for file, text in {"__init__.py": init, "parameters.py": parameters, "stage.py": stage}.items():
        (folder / file).write_text(text)
    listed = workspace.root / "components" / "__init__.py"
    listed.write_text(listed.read_text().replace("STAGES = (", f'STAGES = (\n    "{name}",'))
    return folder
