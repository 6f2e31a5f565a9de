"""Git worktrees of runs and restored versions: they share the workspace's DVC cache, and one at work is held."""

from __future__ import annotations

import contextlib
import os
import shutil
import time
from dataclasses import dataclass
from pathlib import Path

from core import dvc, layout, locks
from core.errors import GitError
from core.git import git
from registry.errors import RegistryError


class WorktreeFailed(RegistryError):
    """git could not make, move or remove a worktree."""


@dataclass(frozen=True)
class Leftover:
    """A worktree below the home that no process holds.

    Attributes:
        folder: its files.
        bytes: what they take on disk.
    """

    folder: Path
    bytes: int


def add(root: Path, folder: Path, commit: str, cache: Path) -> Path:
    """Check ``commit`` out, detached, at ``folder``; the workspace's root in it, with its remotes and ``cache`` shared.

    Raises:
        WorktreeFailed, DvcError: git or DVC refused.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    top = Path(_git(root, "rev-parse", "--path-format=absolute", "--show-toplevel"))
    # Forced: git may still know the path from a worktree whose folder was deleted by hand.
    _git(root, "worktree", "add", "--force", "--quiet", "--detach", str(folder), commit)
    inside = folder / root.resolve().relative_to(top.resolve())
    local = root / ".dvc" / "config.local"
    if local.is_file():  # remotes and credentials of the user
        shutil.copy2(local, inside / ".dvc" / "config.local")
    dvc.use_cache(inside, cache)
    return inside


def move(root: Path, folder: Path, target: Path) -> None:
    """Rename a worktree; ``target`` must not exist.

    Raises:
        WorktreeFailed: git refused.
    """
    _git(root, "worktree", "move", str(folder), str(target))


def remove(root: Path, folder: Path) -> None:
    """Remove a worktree, whole or half made; its commits, and the bytes in DVC's cache, stay.

    Raises:
        WorktreeFailed: git knows it and refused.
    """
    shutil.rmtree(folder, ignore_errors=True)
    if folder.resolve() in folders(root):
        # By its name: `prune` would also forget those that are being moved, or whose disk is not mounted now.
        # Forced twice: git locks a worktree while it is being made, and a killed process leaves it locked.
        _git(root, "worktree", "remove", "--force", "--force", str(folder))


def folders(root: Path) -> list[Path]:
    """Every worktree of the repository, its main one first."""
    lines = _git(root, "worktree", "list", "--porcelain").splitlines()
    return [Path(line.removeprefix("worktree ")) for line in lines if line.startswith("worktree ")]


def hold(folder: Path) -> int:
    """Mark a worktree as in use until this process ends or gives the descriptor returned to :func:`release`.

    Raises:
        WorktreeFailed: another process holds it.
    """
    for _ in range(10):  # a process that only looks whether it is held has the lock for a moment
        if (descriptor := locks.try_lock(_lock_of(folder))) is not None:
            return descriptor
        time.sleep(0.05)
    raise WorktreeFailed(f"another process is at work in {folder}; wait for it, or choose another folder")


def release(folder: Path, descriptor: int) -> None:
    """End what :func:`hold` began."""
    _lock_of(folder).unlink(missing_ok=True)
    os.close(descriptor)


def held(folder: Path) -> bool:
    """True while a process holds the worktree."""
    return locks.held(_lock_of(folder))


def leftovers(home: Path) -> list[Leftover]:
    """Worktrees of runs that failed, or were killed before they removed theirs."""
    found = []
    for folder in sorted(layout.worktrees(home).glob("*")):
        if folder.is_dir() and not held(folder):
            found.append(Leftover(folder, size_of(folder)))
    return found


def is_leftover(home: Path, folder: Path) -> bool:
    """True for a worktree below the home that no process holds."""
    return folder.resolve().is_relative_to(layout.worktrees(home).resolve()) and not held(folder)


def size_of(path: Path) -> int:
    """Bytes of a file, or of all files below a folder; links count nothing."""
    if path.is_file() and not path.is_symlink():
        return path.stat().st_size
    total = 0
    for parent, _, names in os.walk(path):
        for name in names:
            with contextlib.suppress(FileNotFoundError):
                file = Path(parent, name)
                total += 0 if file.is_symlink() else file.stat().st_size
    return total


def _lock_of(folder: Path) -> Path:
    return folder.with_name(f"{folder.name}.lock")


def _git(folder: Path, *arguments: str) -> str:
    try:
        return git(folder, *arguments)
    except GitError as error:
        raise WorktreeFailed(str(error)) from None
