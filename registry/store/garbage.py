"""Finding what nothing reachable needs, by kind, with its size and how it is removed."""

from __future__ import annotations

import contextlib
import json
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlsplit

from ruamel.yaml.error import YAMLError
from sqlalchemy import select
from sqlalchemy.orm import Session

from core import bounded, dvc, layout
from core.git import git
from core.workspace import Workspace
from registry.db.references import current_aliases
from registry.db.schema import Deployment, Execution, ExecutionContext
from registry.promotion.mirror import EXPERIMENT, RUN_NAME_TAG
from registry.store import worktrees
from registry.store.reachable import Reachable
from registry.store.snapshot import NAMESPACE
from registry.store.worktrees import size_of

if TYPE_CHECKING:
    from dvc_data.hashfile.db import HashFileDB
    from mlflow import MlflowClient


@dataclass(frozen=True)
class Garbage:
    """One thing that nothing reachable needs."""

    what: str
    bytes: int
    remove: Callable[[], object]


def snapshots(workspace: Workspace, kept: Reachable) -> Iterator[Garbage]:
    """References of runs that are not kept; git collects their commits itself, in time."""
    for line in git(workspace.root, "for-each-ref", "--format=%(refname) %(objectname)", NAMESPACE).splitlines():
        name, _, commit = line.partition(" ")
        if name.removeprefix(f"{NAMESPACE}/") not in kept.runs and commit not in kept.commits:
            remove = _bind(git, workspace.root, "update-ref", "-d", name, commit)
            yield Garbage(name, 0, remove)


def left_worktrees(workspace: Workspace) -> Iterator[Garbage]:
    """Worktrees of runs that failed or were killed, and what killed reproductions left."""
    for leftover in worktrees.leftovers(workspace.home):
        yield Garbage(str(leftover.folder), leftover.bytes, _bind(worktrees.remove, workspace.root, leftover.folder))
    for folder in sorted(layout.reproductions(workspace.home).glob("*")):
        if folder.is_dir() and not worktrees.held(folder):
            yield Garbage(str(folder), size_of(folder), _bind(shutil.rmtree, folder))


def scratch(workspace: Workspace, kept: Reachable) -> Iterator[Garbage]:
    """Scratch of finished work, and of unfinished work older than the newest runs; never with points MLflow lacks."""
    for folder in sorted(layout.scratch(workspace.home).glob("*/*")):
        tracking = folder / "tracking"
        if not folder.is_dir() or not _replayed(tracking):
            continue
        if (tracking / "receipt.json").exists() or _newest_change(tracking) < kept.since:
            yield Garbage(str(folder), size_of(folder), _bind(shutil.rmtree, folder))


def cache(workspace: Workspace, kept: Reachable) -> Iterator[Garbage]:
    """Files of the stages' caches that no run has taken since the oldest one of those that are kept."""
    for path in sorted(layout.cache(workspace.home).glob("*/*")):
        if path.name != "lock" and path.stat().st_mtime < kept.since:
            yield Garbage(str(path), path.stat().st_size, _bind(path.unlink, True))


def logs(workspace: Workspace, kept: Reachable) -> Iterator[Garbage]:
    """Logs of runs that are neither kept nor as new as the newest."""
    for folder in sorted(layout.runs(workspace.home).glob("*")):
        if folder.is_dir() and folder.name not in kept.runs and _newest_change(folder) < kept.since:
            yield Garbage(str(folder), size_of(folder), _bind(shutil.rmtree, folder))


def copies(workspace: Workspace, session: Session, cache: Path) -> Iterator[Garbage]:
    """Checked-out copies of versions that hold no alias and are not served, where the cache has their bytes."""
    wanted = {row.to_version.artifact.digest for row in current_aliases(session)}
    wanted |= {row.version.artifact.digest for row in session.scalars(select(Deployment).filter_by(ended=None))}
    for folder in sorted(layout.models(workspace.home).glob("*")):
        if folder.name not in wanted and (folder.name.startswith(".") or dvc.object_path(cache, folder.name).is_file()):
            yield Garbage(str(folder), size_of(folder), _bind(shutil.rmtree, folder))
    for folder in sorted(path for path in layout.merged(workspace.home).glob("*") if path.is_dir()):
        if folder.name not in wanted:  # merged again when it is wanted again
            yield Garbage(str(folder), size_of(folder), _bind(shutil.rmtree, folder))


def objects(store: HashFileDB, needed: set[str]) -> Iterator[tuple[str, int]]:
    """(digest, bytes) of a store's objects that are not ``needed``; the store is DVC's cache or a remote of it."""
    unneeded = sorted(digest for digest in store.all() if digest not in needed)
    infos = store.fs.info([store.oid_to_path(digest) for digest in unneeded], return_exceptions=True)
    for digest, info in zip(unneeded, infos, strict=True):
        yield digest, 0 if isinstance(info, Exception) else info.get("size") or 0


def run_cache(cache: Path, needed: set[str]) -> Iterator[Garbage]:
    """Entries of DVC's run-cache whose outputs are not kept."""
    for path in sorted((cache / "runs").glob("*/*/*")):
        if not path.is_file():
            continue
        entry = None
        try:
            entry = bounded.yaml(path.read_bytes(), fast=True) or {}
            outs = [out.get(out.get("hash", "md5")) for out in entry.get("outs") or []]
        except (YAMLError, AttributeError):
            outs = [None]  # damaged: DVC could not use it
        if not all(digest in needed for digest in outs):
            command = entry.get("cmd") if isinstance(entry, dict) else None
            yield Garbage(f"{command} ({path.parent.name[:12]})", path.stat().st_size, path.unlink)


def mlflow_runs(client: MlflowClient, session: Session, kept: Reachable) -> Iterator[Garbage]:
    """MLflow runs of executions that are not kept, of failed ones, and of reproductions, older than the newest runs.

    They are marked deleted, as MLflow's interface does it, and a local artifact folder is removed; `mlflow gc` removes
    the rows.
    """
    wanted = set(session.scalars(select(Execution.mlflow_run_id).where(Execution.id.in_(kept.executions))))
    wanted |= set(session.scalars(select(ExecutionContext.mlflow_run_id).where(ExecutionContext.name.in_(kept.runs))))
    experiment = client.get_experiment_by_name(EXPERIMENT)
    if experiment is None:
        return
    token, runs = None, []
    while True:
        page = client.search_runs([experiment.experiment_id], max_results=1000, page_token=token)
        runs += page
        token = page.token
        if not token:
            break
    parents = {run.data.tags.get("mlflow.parentRunId") for run in runs if run.info.run_id in wanted}
    for run in runs:
        name = run.data.tags.get("stemma.run") or run.data.tags.get(RUN_NAME_TAG)
        ours = name is not None or "stemma.fingerprint" in run.data.tags
        if not ours or name in kept.runs or run.info.run_id in wanted | parents:
            continue
        if run.info.start_time is not None and run.info.start_time / 1000 >= kept.since:
            continue
        artifacts = _local(run.info.artifact_uri)
        size = size_of(artifacts) if artifacts else 0

        def remove(run_id: str = run.info.run_id, folder: Path | None = artifacts) -> None:
            client.delete_run(run_id)
            if folder is not None:
                shutil.rmtree(folder.parent if folder.name == "artifacts" else folder, ignore_errors=True)

        yield Garbage(f"{run.info.run_name} of {name or 'no run'} ({run.info.run_id})", size, remove)


def _bind(function: Callable[..., object], *arguments: object) -> Callable[[], object]:
    return lambda: function(*arguments)


def _local(uri: str | None) -> Path | None:
    parts = urlsplit(uri or "")
    return Path(unquote(parts.path)) if parts.scheme == "file" or (uri or "").startswith("/") else None


def _replayed(tracking: Path) -> bool:
    """True if MLflow has everything that a scratch folder's event log holds."""
    events = tracking / "events.jsonl"
    size = events.stat().st_size if events.exists() else 0
    with contextlib.suppress(FileNotFoundError, json.JSONDecodeError, KeyError):
        return bool(json.loads((tracking / "cursor.json").read_text(encoding="utf-8"))["offset"] >= size)
    return size == 0


def _newest_change(folder: Path) -> float:
    return max((path.stat().st_mtime for path in (folder, *folder.iterdir())), default=0.0) if folder.is_dir() else 0.0
