"""Worktrees of runs are taken away whatever state a killed git left them in."""

from __future__ import annotations

import shutil
import subprocess

import pytest

from core.git import git
from core.workspace import Workspace
from flows.pipeline.prepare import Request, _problems_of_name
from flows.pipeline.worktree import folder_of
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
    own, unmounted = tmp_path / "own", tmp_path / "unmounted"
    for each in (folder, own):
        git(repository, "worktree", "add", "-q", "--detach", str(each))
    own.rename(unmounted)
    (folder / "file").write_text("of the run")
    if "locked" in killed:
        git(repository, "worktree", "lock", str(folder))
    if "git file" in killed:
        (folder / ".git").unlink()
    if killed == "folder gone":
        shutil.rmtree(folder)
    worktrees.remove(repository, folder)
    assert not folder.exists()
    assert worktrees.folders(repository) == [repository.resolve(), own]
    git(repository, "worktree", "add", "-q", "--detach", str(folder))
    unmounted.rename(own)
    assert git(own, "rev-parse", "HEAD"), "one that was out of reach meanwhile is still known"


def test_a_worktree_that_its_holder_gives_back_at_the_same_moment_is_held(tmp_path, monkeypatch):
    folder, opened = tmp_path / "run", worktrees.locks._open

    def beside_a_release(path):
        descriptor = opened(path)
        monkeypatch.setattr(worktrees.locks, "_open", opened)
        path.unlink()
        return descriptor

    monkeypatch.setattr(worktrees.locks, "_open", beside_a_release)
    holding = worktrees.hold(folder)
    assert worktrees.held(folder)
    worktrees.release(folder, holding)


def test_no_other_run_takes_the_name_of_one_that_is_under_way(tmp_path):
    """They would share logs, messages and snapshot; what a failed one left is in the way of a new tree alone."""
    workspace = Workspace(tmp_path, tmp_path / "home")
    folder = folder_of(workspace.home, "mine")
    folder.mkdir(parents=True)
    holding = worktrees.hold(folder)
    for isolated in (True, False):
        assert "is under way" in _problems_of_name(workspace, Request(run="mine", isolated=isolated))[0]
    worktrees.release(folder, holding)
    assert _problems_of_name(workspace, Request(run="mine", isolated=True))
    assert _problems_of_name(workspace, Request(run="mine")) == []
