"""Where things lie: the workspace, and the home that all of its worktrees share."""

from __future__ import annotations

import os
import subprocess
from dataclasses import dataclass
from pathlib import Path

from registry.errors import WorkspaceError


@dataclass(frozen=True)
class Workspace:
    """A folder with ``dvc.yaml`` in a git repository.

    Attributes:
        root: folder of ``dvc.yaml``.
        home: databases, keys, scratch: ``STEMMA_HOME``, or ``.stemma`` beside the common git folder.
    """

    root: Path
    home: Path

    @classmethod
    def find(cls, start: Path | None = None) -> Workspace:
        """The workspace that holds ``start`` (the current directory), looking upward.

        Raises:
            WorkspaceError: no ``dvc.yaml`` at or above ``start``, or it is not in a git repository.
        """
        start = (start or Path.cwd()).resolve()
        root = next((folder for folder in (start, *start.parents) if (folder / "dvc.yaml").is_file()), None)
        if root is None:
            raise WorkspaceError(
                f"{start}: no dvc.yaml here or above; go into a Stemma workspace (a clone of the project) and try again"
            )
        try:
            env = {**os.environ, "LC_ALL": "C"}
            common = git(root, "rev-parse", "--path-format=absolute", "--git-common-dir", env=env)
        except WorkspaceError as error:
            if "not a git repository" not in str(error):
                raise  # such as a folder that belongs to another account: git's own words say what to do
            raise WorkspaceError(
                f"{root}: not a git repository, so no model could be traced to its code; run `git init` there first"
            ) from None
        configured = os.environ.get("STEMMA_HOME")
        home = Path(configured).expanduser().resolve() if configured else Path(common).parent / ".stemma"
        return cls(root, home)

    @property
    def registry_url(self) -> str:
        """``STEMMA_REGISTRY_URL`` (SQLite or PostgreSQL), or SQLite in the home."""
        return os.environ.get("STEMMA_REGISTRY_URL") or f"sqlite:///{self.home / 'registry.db'}"

    @property
    def mlflow_uri(self) -> str:
        """``MLFLOW_TRACKING_URI``, or SQLite in the home."""
        return os.environ.get("MLFLOW_TRACKING_URI") or f"sqlite:///{self.home / 'mlflow.db'}"


def git(folder: Path, *arguments: str, check: bool = True, env: dict[str, str] | None = None, text: str = "") -> str:
    """Standard output of a git command, stripped; empty where it failed and ``check`` is false.

    Raises:
        WorkspaceError: the command failed and ``check`` is true, or git is not installed.
    """
    try:
        done = subprocess.run(
            ["git", "-C", str(folder), *arguments], input=text, capture_output=True, text=True, check=False, env=env
        )
    except FileNotFoundError:
        raise WorkspaceError("git is not installed or not on PATH; install git and try again") from None
    if done.returncode and check:
        raise WorkspaceError(f"git {' '.join(arguments)} failed in {folder}: {done.stderr.strip()}")
    return done.stdout.strip() if done.returncode == 0 else ""


def git_bytes(folder: Path, *arguments: str) -> bytes | None:
    """Standard output of a git command as it is; ``None`` where it failed."""
    done = subprocess.run(["git", "-C", str(folder), *arguments], capture_output=True, check=False)
    return done.stdout if done.returncode == 0 else None
