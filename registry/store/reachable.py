"""What must be kept: everything a registered version, an alias, a deployment, a pin, a recent run or git still needs.

Registered versions are roots, all of them, each with the whole ``dvc.lock`` of the snapshot it is restored from, so
every one still restores after a collection. Aliases, promotions and deployments name registered versions.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from sqlalchemy import select
from sqlalchemy.orm import Session, aliased

from core import dvc_lock
from core.git import git, git_bytes
from core.workspace import Workspace
from registry.db.schema import Artifact, Association, Event, Execution, ExecutionContext, ModelVersion, Pin, Snapshot
from registry.errors import MissingBytes
from registry.store import worktrees
from registry.store.manifests import read_manifest
from registry.store.restore import source_of
from registry.store.snapshot import NAMESPACE


@dataclass
class Reachable:
    """What a collection must not delete.

    Attributes:
        runs: pipeline runs that are kept, with the reason.
        executions: ids of those in the kept runs, and of all they descend from.
        commits: whose ``dvc.lock`` and ``*.dvc`` files count, with the reason.
        digests: of everything kept; of folders, their manifests only.
        since: unix seconds; what began later is as new as the newest runs, and kept.
        notes: versions that cannot be restored even now, and why.
    """

    runs: dict[str, str] = field(default_factory=dict)
    executions: set[int] = field(default_factory=set)
    commits: dict[str, str] = field(default_factory=dict)
    digests: set[str] = field(default_factory=set)
    since: float = 0.0
    notes: list[str] = field(default_factory=list)

    def objects(self, cache: Path) -> set[str]:
        """The digests with those of the folders' files; manifests are read from ``cache``.

        Raises:
            InvalidBytes: one of them is damaged, so what else is needed is unknown.
        """
        found = set(self.digests)
        for digest in self.digests:
            if digest.endswith(".dir"):
                with contextlib.suppress(FileNotFoundError):
                    found |= set(read_manifest(cache, digest).values())
        return found


def reachable(workspace: Workspace, session: Session, keep_runs: int, now: float) -> Reachable:
    """Everything that is kept when the newest ``keep_runs`` pipeline runs are.

    Raises:
        LockUnreadable: a ``dvc.lock`` that counts cannot be read, so what it needs is unknown.
    """
    kept = Reachable()
    executions: set[int] = set()
    for version in session.scalars(select(ModelVersion).order_by(ModelVersion.id)).all():
        executions.add(version.execution_id)
        kept.digests.add(version.artifact.digest)
        try:
            source = source_of(workspace, session, version)
        except MissingBytes as missing:
            kept.notes.append(str(missing).split(". ")[0])
            continue
        kept.runs.setdefault(source.run, f"{version} is restored from it")
        kept.commits.setdefault(source.commit, f"{version} is restored from it")
    for pin in session.scalars(select(Pin).where(Pin.context_id.is_not(None), Pin.released.is_(None))):
        kept.runs.setdefault(pin.context.name, f"pinned: {pin.reason}")
    runs = session.scalars(
        select(ExecutionContext)
        .filter_by(type="pipeline_run")
        .order_by(ExecutionContext.created.desc(), ExecutionContext.id.desc())
    ).all()
    for context in runs[:keep_runs]:
        kept.runs.setdefault(context.name, f"among the newest {keep_runs}")
    kept.since = _since(session, runs[:keep_runs], now) if len(runs) > keep_runs else 0.0
    ids = {context.id for context in runs if context.name in kept.runs}
    executions |= set(session.scalars(select(Association.execution_id).where(Association.context_id.in_(ids))))
    executions |= set(
        session.scalars(
            select(Execution.original_id).where(Execution.id.in_(executions), Execution.original_id.is_not(None))
        )
    )
    kept.executions = _with_ancestors(session, executions)
    kept.digests |= set(
        session.scalars(
            select(Artifact.digest)
            .join(Event, Event.artifact_id == Artifact.id)
            .where(Event.execution_id.in_(kept.executions))
        )
    )
    for commit, run in session.execute(
        select(Snapshot.commit_sha, ExecutionContext.name).join(ExecutionContext).where(Snapshot.context_id.in_(ids))
    ):
        kept.commits.setdefault(commit, f"snapshot of run {run}")
    _add_git(workspace, kept)
    return kept


def _since(session: Session, newest: Sequence[ExecutionContext], now: float) -> float:
    """When the oldest of the newest runs began."""
    if not newest:
        return now
    started = session.scalars(
        select(Execution.started)
        .join(Association, Association.execution_id == Execution.id)
        .where(Association.context_id.in_([c.id for c in newest]), Execution.state != "CACHED")
    )
    return min([*(when for when in started if when is not None), *(context.created for context in newest)])


def _with_ancestors(session: Session, executions: Iterable[int]) -> set[int]:
    read, made = aliased(Event), aliased(Event)
    upstream = select(Execution.id.label("id")).where(Execution.id.in_(executions)).cte("upstream", recursive=True)
    upstream = upstream.union(
        select(made.execution_id)
        .join(read, (read.artifact_id == made.artifact_id) & (read.direction == "INPUT"))
        .join(upstream, upstream.c.id == read.execution_id)
        .where(made.direction == "OUTPUT")
    )
    return set(session.scalars(select(upstream.c.id)))


def _add_git(workspace: Workspace, kept: Reachable) -> None:
    """What git's own references and every worktree's files need: users commit their ``dvc.lock``."""
    for line in git(workspace.root, "for-each-ref", "--format=%(objectname) %(refname)").splitlines():
        commit, _, name = line.partition(" ")
        if not name.startswith(f"{NAMESPACE}/"):
            kept.commits.setdefault(commit, name)
    stash = git(workspace.root, "rev-list", "--walk-reflogs", "refs/stash", check=False).splitlines()
    kept.commits.update(dict.fromkeys(stash, "stash"))
    contents: dict[str, tuple[bytes, str]] = {}
    for folder in worktrees.folders(workspace.root):
        if not folder.is_dir() or worktrees.is_leftover(workspace.home, folder):
            continue
        if head := git(folder, "rev-parse", "--verify", "--quiet", "HEAD", check=False):
            kept.commits.setdefault(head, f"checked out in {folder}")
        names = git(folder, "ls-files", "--cached", "--others", "-z", "--", "*dvc.lock", "*.dvc").split("\0")
        for name in filter(None, names):
            if _names_bytes(name) and (folder / name).is_file():
                contents[str(folder / name)] = ((folder / name).read_bytes(), str(folder / name))
    for commit in list(kept.commits):
        listing = git_bytes(workspace.root, "ls-tree", "-r", "-z", "--full-tree", commit)
        for entry in (listing or b"").split(b"\0"):
            what, _, name = entry.decode(errors="surrogateescape").partition("\t")
            if _names_bytes(name):
                blob = what.split()[2]
                if blob not in contents:
                    content = git_bytes(workspace.root, "cat-file", "blob", blob)
                    contents[blob] = (content or b"", f"{name} of {commit[:12]} ({kept.commits[commit]})")
    for content, where in contents.values():
        kept.digests |= dvc_lock.digests_in(content, where)


def _names_bytes(path: str) -> bool:
    name = path.rpartition("/")[2]
    return name == "dvc.lock" or (name.endswith(".dvc") and name != ".dvc")
