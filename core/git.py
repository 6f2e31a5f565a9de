"""Git's command line."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path
from typing import Any

from core.errors import GitError, WorkspaceError


def git(folder: Path, *arguments: str, check: bool = True, env: dict[str, str] | None = None, text: str = "") -> str:
    """Standard output of a git command, stripped; empty where it failed and ``check`` is false.

    Args:
        env: the command's environment; this process's by default.
        text: its standard input.

    Raises:
        GitError: the command failed and ``check`` is true.
        WorkspaceError: git is not installed.
    """
    done = _run(folder, arguments, input=text.encode(errors="surrogateescape"), env=env)
    if done.returncode and check:
        message = done.stderr.decode(errors="replace").strip()
        raise GitError(f"git {' '.join(arguments)} failed in {folder}: {message}")
    return done.stdout.decode(errors="surrogateescape").strip() if done.returncode == 0 else ""


def git_bytes(folder: Path, *arguments: str) -> bytes | None:
    """Standard output of a git command as it is; ``None`` where it failed."""
    done = _run(folder, arguments)
    return done.stdout if done.returncode == 0 else None


def common_folder(folder: Path) -> Path:
    """The git folder that all worktrees of the repository share.

    Raises:
        WorkspaceError: ``folder`` is in no git repository, or git refuses it, such as one of another account.
    """
    try:
        path = git(folder, "rev-parse", "--path-format=absolute", "--git-common-dir", env={**os.environ, "LC_ALL": "C"})
    except GitError as error:
        if "not a git repository" not in str(error):
            raise WorkspaceError(str(error)) from None
        raise WorkspaceError(
            f"{folder}: not a git repository, so no model could be traced to its code; run `git init` there first"
        ) from None
    return Path(path)


def _run(folder: Path, arguments: tuple[str, ...], **options: Any) -> subprocess.CompletedProcess[bytes]:
    # Reading commands refresh the index by the way; without its lock they never make another git fail.
    # Hooks are for the user's own commands; where core.hooksPath is relative, a restored tree would bring its own.
    command = ["git", "--no-optional-locks", "-c", f"core.hooksPath={os.devnull}", "-C", str(folder), *arguments]
    try:
        return subprocess.run(command, capture_output=True, check=False, **options)
    except FileNotFoundError:
        raise WorkspaceError("git is not installed or not on PATH; install git and try again") from None
