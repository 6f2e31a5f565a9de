"""A git worktree of its own for one run, so that two runs never collide and the user's tree stays as it is."""

from __future__ import annotations

import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from flows import dvc
from flows.raw_data import RAW


class WorktreeFailed(Exception):
    """git could not make the worktree."""


@dataclass(frozen=True)
class Worktree:
    """A detached worktree under ``<home>/worktrees/<run>`` that shares the DVC cache with the workspace.

    Attributes:
        folder: the worktree.
        root: the workspace in it, which is a subfolder where the user's workspace is one of its repository.
    """

    user_root: Path
    folder: Path
    root: Path

    @classmethod
    def create(cls, user_root: Path, home: Path, run: str, commit: str, raw_is_versioned: bool) -> Worktree:
        """Check ``commit`` out beside the user's tree; unchanged outputs are taken from the shared cache.

        Args:
            raw_is_versioned: the commit's ``data/raw.dvc`` stands for the user's raw files; else they are copied.

        Raises:
            WorktreeFailed: git refused.
            dvc.DvcError: DVC refused.
        """
        folder = folder_of(home, run)
        folder.parent.mkdir(parents=True, exist_ok=True)
        top = Path(_git(user_root, "rev-parse", "--path-format=absolute", "--show-toplevel"))
        _git(user_root, "worktree", "add", "--quiet", "--detach", str(folder), commit)
        worktree = cls(user_root, folder, folder / user_root.resolve().relative_to(top.resolve()))
        try:
            worktree._share_cache()
            # Outputs that no cache holds are made anew by the run.
            dvc.run(worktree.root, "checkout", "--quiet", "--allow-missing")
            if not raw_is_versioned:
                worktree._copy_raw_data()
        except BaseException:
            worktree.remove()
            raise
        return worktree

    def remove(self) -> None:
        """Take the worktree away; its commits, and the bytes in DVC's cache, stay."""
        _git(self.user_root, "worktree", "remove", "--force", str(self.folder))

    def _share_cache(self) -> None:
        cache = dvc.run(self.user_root, "cache", "dir").strip()
        local = self.user_root / ".dvc" / "config.local"
        if local.is_file():  # remotes and credentials of the user
            shutil.copy2(local, self.root / ".dvc" / "config.local")
        dvc.run(self.root, "cache", "dir", "--local", str((self.user_root / cache).resolve()))

    def _copy_raw_data(self) -> None:
        source, target = self.user_root / RAW, self.root / RAW
        shutil.rmtree(target, ignore_errors=True)
        if source.is_dir():
            shutil.copytree(source, target)


def folder_of(home: Path, run: str) -> Path:
    """Where the worktree of the run ``run`` lies, or would."""
    return home / "worktrees" / run


def _git(folder: Path, *arguments: str) -> str:
    done = subprocess.run(["git", "-C", str(folder), *arguments], capture_output=True, text=True, check=False)
    if done.returncode:
        raise WorktreeFailed(f"git {' '.join(arguments[:2])} failed: {done.stderr.strip()}")
    return done.stdout.strip()
