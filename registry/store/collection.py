"""Collecting garbage: what goes is computed from the registry and git, then deleted while everything else waits."""

from __future__ import annotations

import contextlib
import functools
import time
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sqlalchemy.orm import Session

from core import dvc, layout, manifests
from core.errors import WorkspaceError
from core.git import common_folder
from core.workspace import Workspace, sqlite_url
from registry.db.database import open as open_registry
from registry.errors import InvalidBytes
from registry.promotion.mirror import unreachable
from registry.store import garbage
from registry.store.garbage import Garbage
from registry.store.reachable import Reachable, reachable
from registry.store.run_locks import at_work, undisturbed

if TYPE_CHECKING:
    from dvc_data.hashfile.db import HashFileDB

KEEP_RUNS = 10


@dataclass
class Category:
    """One kind of garbage."""

    name: str
    count: int
    bytes: int
    items: list[str]


@dataclass
class Collection:
    """What a collection deletes, or deleted.

    Attributes:
        deleted: False for a dry run.
        kept_runs: pipeline runs that are kept, with the reason.
        notes: what was not considered, and why.
    """

    deleted: bool
    categories: list[Category] = field(default_factory=list)
    kept_runs: dict[str, str] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    @property
    def bytes(self) -> int:
        return sum(category.bytes for category in self.categories)

    def as_dict(self) -> dict[str, Any]:
        return {**asdict(self), "bytes": self.bytes}


def collect(
    workspace: Workspace,
    *,
    keep_runs: int = KEEP_RUNS,
    remote: str | None = None,
    delete: bool = False,
    say: Callable[[str], None] = lambda message: None,
) -> Collection:
    """Find, and with ``delete`` delete, what nothing reachable needs.

    Args:
        keep_runs: how many of the newest pipeline runs are kept, whether they succeeded or not.
        remote: name of a DVC remote to collect too.

    Raises:
        InUse: something is at work (only with ``delete``).
        WorkspaceError: no such remote.
        RegistryError: the registry, a ``dvc.lock`` or DVC cannot be read, so what is needed is unknown.
    """
    if remote is not None and remote not in (known := dvc.remotes(workspace.root)):
        raise WorkspaceError(f"no DVC remote is called {remote!r}; known: {', '.join(known) or 'none'}")
    with contextlib.ExitStack() as stack:
        if delete:
            stack.enter_context(undisturbed(workspace))
        registry = stack.enter_context(open_registry(workspace.registry_url))
        session = stack.enter_context(registry.read())
        say("finding what is still needed")
        kept = reachable(workspace, session, keep_runs, time.time())
        result = Collection(delete, kept_runs=kept.runs, notes=list(kept.notes))
        if not delete and (busy := at_work(workspace)):
            result.notes.append(f"{'; '.join(busy)}: --delete refuses until that has ended")
        for name, found in _kinds(workspace, session, kept, remote, result, say):
            items = list(found)
            if delete and items:
                say(f"removing {len(items)}: {name}")
                _remove(items)
            if items:
                total = sum(item.bytes for item in items)
                result.categories.append(Category(name, len(items), total, [item.what for item in items]))
    return result


def _kinds(
    workspace: Workspace,
    session: Session,
    kept: Reachable,
    remote: str | None,
    result: Collection,
    say: Callable[[str], None],
) -> Iterable[tuple[str, Iterable[Garbage]]]:
    """Names before bytes: killed in between, nothing that is named is gone."""
    cache = dvc.cache_folder(workspace.root)
    needed = kept.objects(cache)
    yield "snapshots of runs", garbage.snapshots(workspace, kept)
    yield "trees of failed or killed runs", garbage.left_worktrees(workspace)
    yield "scratch folders", garbage.scratch(workspace, kept)
    yield "caches of stages", garbage.cache(workspace, kept)
    yield "logs of runs", garbage.logs(workspace, kept)
    yield "copies of versions", garbage.copies(workspace, session, cache)
    yield "MLflow runs", _mlflow(workspace, session, kept, result)
    if not cache.is_relative_to(_main_folder(workspace)):
        result.notes.append(
            f"DVC's cache {cache} lies outside this repository and may be shared with others: nothing in it is deleted"
        )
    else:
        yield "entries of DVC's run-cache", garbage.run_cache(cache, needed)
        yield "DVC cache", _objects(_local_store(cache), needed)
    if remote is not None:
        say(f"listing remote {remote}")
        yield f"DVC remote {remote}", _remote_objects(workspace, remote, needed)


def _remove(items: list[Garbage]) -> None:
    for item in items:
        with contextlib.suppress(FileNotFoundError):
            item.remove()


def _main_folder(workspace: Workspace) -> Path:
    return common_folder(workspace.root).resolve().parent


def _mlflow(workspace: Workspace, session: Session, kept: Reachable, result: Collection) -> list[Garbage]:
    own = layout.mlflow_database(workspace.home)
    if workspace.mlflow_uri == sqlite_url(own) and not own.is_file():
        return []
    if why := unreachable(workspace.mlflow_uri):
        result.notes.append(f"no MLflow run is deleted: {why}")
        return []
    from mlflow import MlflowClient

    return list(garbage.mlflow_runs(MlflowClient(tracking_uri=workspace.mlflow_uri), session, kept))


def _local_store(cache: Path) -> HashFileDB:
    from dvc_data.hashfile.db.local import LocalHashFileDB
    from dvc_objects.fs.local import LocalFileSystem

    return LocalHashFileDB(LocalFileSystem(), str(cache / "files" / "md5"))


def _objects(store: HashFileDB, needed: set[str]) -> Iterable[Garbage]:
    if not store.fs.exists(store.path):
        return
    # A folder's manifest before its files: killed in between, no folder looks whole that is not.
    for digest, size in sorted(garbage.objects(store, needed), key=lambda pair: not pair[0].endswith(".dir")):
        yield Garbage(digest, size, functools.partial(store.fs.remove, store.oid_to_path(digest)))


def _remote_objects(workspace: Workspace, name: str, needed: set[str]) -> Iterable[Garbage]:
    from dvc.repo import Repo
    from dvc_data.hashfile.db import get_index

    with Repo(str(workspace.root)) as repo:
        store = repo.cloud.get_remote_odb(name, "gc", hash_name="md5")
        found = list(_objects(store, needed | _members(store, workspace, needed)))
        yield from found
        if found:
            # DVC remembers what a remote has; it must not believe that what went is still there.
            get_index(store).clear()


def _members(store: HashFileDB, workspace: Workspace, needed: set[str]) -> set[str]:
    """Digests of the files of needed folders whose manifests only the remote still has."""
    cache = dvc.cache_folder(workspace.root)
    found: set[str] = set()
    for digest in needed:
        if digest.endswith(".dir") and not dvc.object_path(cache, digest).is_file() and store.exists(digest):
            place = store.oid_to_path(digest)
            try:
                found |= set(manifests.read(store.fs.cat_file(place), digest).values())
            except manifests.ManifestRefused as refused:
                raise InvalidBytes(
                    f"{refused} ({place}), so what else is needed there is unknown; replace it by that of a back-up"
                ) from None
    return found
