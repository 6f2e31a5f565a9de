"""A git worktree of its own for one run, so that two runs never collide and the user's tree stays as it is."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path

from core import dvc, layout
from core.dvc import cache_folder
from flows.pipeline.raw_data import RAW
from registry.store import worktrees
from registry.store.worktrees import WorktreeFailed

__all__ = ["Worktree", "WorktreeFailed", "folder_of"]


@dataclass(frozen=True)
class Worktree:
    """A detached worktree under ``<home>/worktrees/<run>`` that shares the DVC cache with the workspace.

    Attributes:
        folder: the worktree.
        root: the workspace in it, which is a subfolder where the user's workspace is one of its repository.
        holding: keeps the worktree from being taken for one that a killed run left.
    """

    user_root: Path
    folder: Path
    root: Path
    holding: int

    @classmethod
    def create(cls, user_root: Path, home: Path, run: str, commit: str, raw_is_versioned: bool) -> Worktree:
        """Check ``commit`` out beside the user's tree; unchanged outputs are taken from the shared cache.

        Args:
            raw_is_versioned: the commit's ``data/raw.dvc`` stands for the user's raw files; else they are copied.

        Raises:
            WorktreeFailed, DvcFailed, dvc.DvcError: git or DVC refused.
        """
        folder = folder_of(home, run)
        holding = worktrees.hold(folder)
        try:
            worktree = cls(
                user_root, folder, worktrees.add(user_root, folder, commit, cache_folder(user_root)), holding
            )
            # Outputs that no cache holds are made anew by the run.
            dvc.run(worktree.root, "checkout", "--quiet", "--allow-missing")
            if not raw_is_versioned:
                worktree._copy_raw_data()
        except BaseException:
            worktrees.remove(user_root, folder)
            worktrees.release(folder, holding)
            raise
        return worktree

    def remove(self) -> None:
        """Take the worktree away; its commits, and the bytes in DVC's cache, stay."""
        worktrees.remove(self.user_root, self.folder)
        worktrees.release(self.folder, self.holding)

    def _copy_raw_data(self) -> None:
        source, target = self.user_root / RAW, self.root / RAW
        shutil.rmtree(target, ignore_errors=True)
        if source.is_dir():
            shutil.copytree(source, target)


def folder_of(home: Path, run: str) -> Path:
    """Where the worktree of the run ``run`` lies, or would."""
    return layout.worktrees(home) / run
