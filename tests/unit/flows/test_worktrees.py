"""Worktrees of runs are taken away whatever state a killed git left them in."""

from __future__ import annotations

import shutil
import subprocess

import pytest

from core.git import git
from registry.store import worktrees


@pytest.fixture
def repository(tmp_path):
    root = tmp_path / "repository"
    root.mkdir()
    for command in (("init", "-q"), ("commit", "-q", "--allow-empty", "-m", "start")):
        subprocess.run(["git", "-c", "user.name=t", "-c", "user.email=t@t", *command], cwd=root, check=True)
    return root


@pytest.mark.parametrize("killed", ["before", "git file gone", "folder gone", "locked and git file gone"])
def test_a_worktree_whose_removal_was_killed_is_removed_and_its_place_is_free(repository, tmp_path, killed):
    folder = tmp_path / "home" / "worktrees" / "run"
    git(repository, "worktree", "add", "-q", "--detach", str(folder))
    (folder / "file").write_text("of the run")
    if "locked" in killed:
        git(repository, "worktree", "lock", str(folder))
    if "git file" in killed:
        (folder / ".git").unlink()
    if killed == "folder gone":
        shutil.rmtree(folder)
    worktrees.remove(repository, folder)
    assert not folder.exists()
    assert worktrees.folders(repository) == [repository.resolve()]
    git(repository, "worktree", "add", "-q", "--detach", str(folder))
