"""Where things lie: the workspace (the folder of ``dvc.yaml``) and the home that all its worktrees share."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

from components.contract import InputProblem


def find_root(start: Path | None = None) -> Path:
    """The nearest folder upward of ``start`` that holds ``dvc.yaml``.

    Raises:
        InputProblem: there is none.
    """
    start = (start or Path.cwd()).resolve()
    for folder in (start, *start.parents):
        if (folder / "dvc.yaml").is_file():
            return folder
    raise InputProblem(
        f"{start}: no dvc.yaml here or above; run this inside a Stemma workspace (a clone of the project)"
    )


def find_home(root: Path) -> Path:
    """``STEMMA_HOME``, or ``.stemma`` beside the repository's common git folder, which every worktree shares.

    Raises:
        InputProblem: ``root`` is not in a git repository.
    """
    if configured := os.environ.get("STEMMA_HOME"):
        return Path(configured).expanduser().resolve()
    common = git(root, "rev-parse", "--path-format=absolute", "--git-common-dir")
    if common is None:
        raise InputProblem(f"{root}: not a git repository, so no run could be traced to its code; run `git init` first")
    return Path(common).parent / ".stemma"


def git(root: Path, *arguments: str) -> str | None:
    """Standard output of a git command, or ``None`` where it failed; one that reads takes no lock of the index."""
    command = ["git", "--no-optional-locks", "-C", str(root), *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return done.stdout.strip() if done.returncode == 0 else None
