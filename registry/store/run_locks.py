"""What reads a workspace's bytes and what deletes or replaces them keep out of each other's way: many of the former at
once, or one of the latter alone."""

from __future__ import annotations

import contextlib
import json
import os
import time
from collections.abc import Iterator
from pathlib import Path

import psutil

from core import layout, locks
from core.files import private_folder
from core.workspace import Workspace
from registry.errors import RegistryError
from registry.store import worktrees


class InUse(RegistryError):
    """Something is at work that would be disturbed."""


@contextlib.contextmanager
def running(home: Path) -> Iterator[None]:
    """Held by all that :func:`undisturbed` must not meet, such as a pipeline run; waits for it. May be nested."""
    private_folder(home)
    with locks.holding(layout.collection_lock(home), shared=True):
        yield


@contextlib.contextmanager
def alone_in(root: Path, who: str) -> Iterator[None]:
    """Held by the one run that works in a tree; runs in trees of their own do not meet here.

    Args:
        who: the name by which this run is shown to the next one.

    Raises:
        InUse: another run works in it; says which.
    """
    lock = root / ".dvc" / "tmp" / "run.lock"
    with locks.holding(lock, wait=False) as descriptor:
        if descriptor is None:
            holder = lock.read_text(encoding="utf-8", errors="replace").strip() or "another run"
            raise InUse(
                f"{holder} is at work in {root}; wait for its end, or run in a tree of its own: stemma run --isolated"
            )
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, f"{who} (process {os.getpid()}, since {time.strftime('%H:%M:%S')})".encode(), 0)
        yield


@contextlib.contextmanager
def undisturbed(workspace: Workspace) -> Iterator[None]:
    """Held while a collection deletes or a back-up is restored: nothing of Stemma's is at work, and every DVC waits.

    Raises:
        InUse: something is at work; says what.
    """
    with contextlib.ExitStack() as stack:
        if stack.enter_context(locks.holding(layout.collection_lock(workspace.home), wait=False)) is None:
            raise InUse("a run, an export or another command is at work in this workspace; wait until it has ended")
        if busy := at_work(workspace):
            raise InUse(f"{'; '.join(busy)}: wait until that has ended")
        for root in roots(workspace):
            stack.enter_context(_dvc_lock(root))
        if busy := at_work(workspace):  # what began before DVC's locks were taken
            raise InUse(f"{'; '.join(busy)}: wait until that has ended")
        yield


def at_work(workspace: Workspace) -> list[str]:
    """Stages, restored trees and DVC commands at work now, one line each."""
    found = []
    for lock in sorted(layout.scratch(workspace.home).glob("*/*/tracking/lock")):
        if locks.held(lock):
            found.append(f"stage {lock.parents[2].name} runs")
    for folder in (layout.worktrees(workspace.home), layout.reproductions(workspace.home)):
        for lock in sorted(folder.glob("*.lock")):
            if locks.held(lock):
                found.append(f"{lock.with_suffix('')} is in use")
    for root in roots(workspace):
        with contextlib.suppress(FileNotFoundError, json.JSONDecodeError):
            for path, holders in json.loads((root / ".dvc" / "tmp" / "rwlock").read_text()).items():
                for holder in [holders.get("write") or {}, *(holders.get("read") or [])]:
                    if "pid" in holder and psutil.pid_exists(holder["pid"]):
                        found.append(f"`{holder.get('cmd', 'dvc')}` (process {holder['pid']}) holds {path}")
    return list(dict.fromkeys(found))


def roots(workspace: Workspace) -> list[Path]:
    """The workspace in every worktree of its repository."""
    folders = worktrees.folders(workspace.root)
    inside = next(
        workspace.root.resolve().relative_to(folder)
        for folder in sorted(folders, key=lambda path: -len(path.parts))
        if workspace.root.resolve().is_relative_to(folder)
    )
    return [folder / inside for folder in folders if (folder / inside / ".dvc").is_dir()]


@contextlib.contextmanager
def _dvc_lock(root: Path) -> Iterator[None]:
    """DVC's own lock of a workspace, so that every DVC command in it waits (or says that it cannot)."""
    from dvc.lock import LockError, make_lock

    folder = root / ".dvc" / "tmp"
    folder.mkdir(exist_ok=True)
    lock = make_lock(str(folder / "lock"), tmp_dir=str(folder))
    try:
        lock.lock()
    except LockError:
        raise InUse(f"another DVC is at work in {root}; wait until it has ended") from None
    try:
        yield
    finally:
        lock.unlock()
