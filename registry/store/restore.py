"""A version's whole tree as it was: code and parameters from git, data and models from DVC, every hash verified.

The tree is made under another name beside its place and renamed when it is complete, so an interrupted restore is
never taken for a complete one and may be repeated.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from sqlalchemy import or_, select
from sqlalchemy.orm import Session, aliased

from core import dvc, dvc_lock, manifests
from core.dvc_lock import EMPTY_FOLDER, LockedStage, Tracked
from core.errors import DvcError, WorkspaceError
from core.git import git
from core.workspace import Workspace
from registry.db.database import open as open_registry
from registry.db.schema import Association, Event, Execution, ExecutionContext, ModelVersion, Snapshot
from registry.errors import InvalidBytes, MissingBytes
from registry.integrity.history import resolve
from registry.store import worktrees
from registry.store.manifests import digest_of, read_manifest
from registry.store.snapshot import secrets_left_out


@dataclass(frozen=True)
class Source:
    """The snapshot that a version is restored from.

    Attributes:
        run: pipeline run that took it: the one that made the version, or a later one with the same bytes.
        commit: of the snapshot.
        path: of the model in it.
        stage: that made the model there.
    """

    version: str
    run: str
    commit: str
    digest: str
    path: str
    stage: str


@dataclass
class RestoredVersion:
    """A restored tree.

    Attributes:
        root: the workspace in it.
        files, bytes: of the data and models that were checked out and verified.
        fetched: remotes that bytes had to be fetched from.
        notes: files that are not as a stage read them.
    """

    source: Source
    folder: Path
    root: Path
    files: int = 0
    bytes: int = 0
    fetched: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def as_dict(self) -> dict[str, Any]:
        body = asdict(self)
        return {**body.pop("source"), **body, "folder": str(self.folder), "root": str(self.root)}


def restore(
    workspace: Workspace,
    reference: str,
    target: Path,
    say: Callable[[str], None] = lambda message: None,
    *,
    raw_only: bool = False,
) -> RestoredVersion:
    """Restore the version that ``reference`` names into ``target``, which must be empty or not exist.

    Args:
        say: called with a message before each step that takes time.
        raw_only: leave out what stages made, because they will be run again.

    Raises:
        UnknownReference: no such version.
        WorkspaceError: ``target`` cannot be used.
        MissingBytes: there is no snapshot, or bytes were not found in the cache or a remote; nothing is left behind.
        InvalidBytes: bytes were found, but are not what was recorded.
        WorktreeFailed, DvcError: git or DVC refused.
    """
    target = target.absolute()
    _refuse_unusable(workspace, target)
    with open_registry(workspace.registry_url) as registry, registry.read() as session:
        source = source_of(workspace, session, resolve(workspace, session, reference))
    partial = target.with_name(f".{target.name}.restoring")
    holding = worktrees.hold(partial)
    try:
        worktrees.remove(workspace.root, partial)  # of an attempt that was killed
        cache = dvc.cache_folder(workspace.root)
        root = worktrees.add(workspace.root, partial, source.commit, cache)
        restored = RestoredVersion(source, target, target / root.relative_to(partial))
        _fill(workspace, root, cache, restored, say, raw_only)
        if target.is_dir():
            target.rmdir()
        worktrees.move(workspace.root, partial, target)
    except BaseException:
        worktrees.remove(workspace.root, partial)
        raise
    finally:
        worktrees.release(partial, holding)
    return restored


def source_of(workspace: Workspace, session: Session, version: ModelVersion) -> Source:
    """The snapshot to restore ``version`` from: that of the run that made it, else of one that had the same bytes.

    Raises:
        MissingBytes: no snapshot that git still has holds these bytes.
    """
    original = aliased(Event)
    made = select(Event.execution_id).filter_by(artifact_id=version.artifact_id, direction="OUTPUT")
    rows = session.execute(
        select(Execution.id, ExecutionContext.name, Snapshot.commit_sha, Snapshot.id)
        .join(Association, Association.execution_id == Execution.id)
        .join(ExecutionContext, ExecutionContext.id == Association.context_id)
        .join(Snapshot, Snapshot.context_id == ExecutionContext.id)
        .where(
            or_(
                Execution.id.in_(made),
                Execution.original_id.in_(
                    select(original.execution_id).filter_by(artifact_id=version.artifact_id, direction="OUTPUT")
                ),
            )
        )
    ).all()
    reasons = []
    for _, run, commit, _ in sorted(rows, key=lambda row: (row[0] != version.execution_id, row[3])):
        if not git(workspace.root, "rev-parse", "--verify", "--quiet", f"{commit}^{{commit}}", check=False):
            reasons.append(f"run {run}: its snapshot {commit[:12]} is no longer in this repository")
            continue
        content = dvc_lock.read_at(workspace.root, commit, "dvc.lock")
        stages = dvc_lock.stages_of(content, f"dvc.lock of run {run}") if content else {}
        for stage in stages.values():
            for path, digest in stage.outs.items():
                if digest == version.artifact.digest:
                    return Source(str(version), run, commit, digest, path, stage.name)
        reasons.append(f"run {run}: its snapshot {commit[:12]} holds other bytes")
    raise MissingBytes(
        f"{version} has no snapshot to restore from ({'; '.join(dict.fromkeys(reasons)) or 'no run took one'}). "
        "Snapshots are commits under refs/stemma/runs: fetch them from a clone that has them with "
        "`git fetch CLONE 'refs/stemma/runs/*:refs/stemma/runs/*'`"
    )


def tracked_files(root: Path) -> list[Tracked]:
    """What DVC keeps of the workspace at ``root``: outputs in ``dvc.lock``, and data under ``dvc add``."""
    found = dvc_lock.tracked_in((root / "dvc.lock").read_bytes(), "dvc.lock") if (root / "dvc.lock").is_file() else []
    for name in git(root, "ls-files", "--", "*.dvc").splitlines():
        folder = Path(name).parent
        for item in dvc_lock.tracked_in((root / name).read_bytes(), name):
            found.append(Tracked((folder / item.path).as_posix(), item.digest, None, item.size, name))
    return found


def _refuse_unusable(workspace: Workspace, target: Path) -> None:
    if target.exists() and (not target.is_dir() or any(target.iterdir())):
        raise WorkspaceError(f"{target} exists and is not empty; name a folder that is empty or does not exist")
    top = Path(git(workspace.root, "rev-parse", "--path-format=absolute", "--show-toplevel"))
    where = target.parent.resolve() / target.name
    inside = where.is_relative_to(top.resolve()) and not where.is_relative_to(workspace.home.resolve())
    if inside and not git(top, "check-ignore", str(target), check=False):
        raise WorkspaceError(
            f"{target} lies in the workspace, whose own snapshots would then hold it; choose a folder beside it, such "
            f"as {top.parent / target.name}"
        )


def _fill(
    workspace: Workspace, root: Path, cache: Path, restored: RestoredVersion, say: Callable[[str], None], raw_only: bool
) -> None:
    """Check everything out into the worktree at ``root`` and verify it."""
    _refuse_paths_outside(root, restored.source)
    tracked = [item for item in tracked_files(root) if item.stage is None or not raw_only]
    wanted = [item for item in tracked if not _is_there(root, item)]
    missing, looked = _missing(cache, wanted), []
    if missing:
        for remote in dvc.remotes(root):
            say(f"{len(missing)} of {len(wanted)} are not in DVC's cache; fetching from remote {remote}")
            try:
                for targets in _targets([item for item, _ in missing]):
                    dvc.run(root, "fetch", "--quiet", "-r", remote, *targets)
            except DvcError as error:
                looked.append(f"remote {remote}: {error}")
            else:
                looked.append(f"remote {remote}: does not have all of it")
            left = _missing(cache, wanted)
            if len(left) < len(missing):
                restored.fetched.append(remote)
            missing = left
            if not missing:
                break
    if missing:
        raise MissingBytes(_missing_message(workspace, restored.source, missing, cache, looked))
    if wanted:
        say(f"checking out {len(wanted)} data and model files of run {restored.source.run}")
        for targets in _targets(wanted):
            dvc.run(root, "checkout", "--quiet", "--force", *targets)
    _make_empty_folders(root)
    say("verifying every file")
    damaged = []
    for item in tracked:
        path = root / item.path
        if not path.exists() or digest_of(path) != item.digest:
            damaged.append(f"{item.path} (md5 {item.digest})")
            continue
        inside = [path] if path.is_file() else [file for file in path.rglob("*") if file.is_file()]
        restored.files += len(inside)
        restored.bytes += sum(file.stat().st_size for file in inside)
    if damaged:
        raise InvalidBytes(
            f"{restored.source.version} cannot be restored: DVC's cache {cache} does not hold what was recorded for "
            f"{', '.join(damaged)}. Delete the damaged objects there (`dvc doctor` names the folder), then `dvc fetch` "
            f"them from a remote, or make them again with `stemma reproduce {restored.source.version}`"
        )
    hidden = secrets_left_out(root, restored.source.commit)
    restored.notes = [*_unlike_read(root), *(f"the snapshot never held {line}" for line in hidden)]


def _refuse_paths_outside(root: Path, source: Source) -> None:
    """A snapshot is another's file as soon as it was fetched: DVC writes where it says, so that must be below it.

    Raises:
        InvalidBytes: ``dvc.lock`` or a ``*.dvc`` file names a place outside the tree, or one behind a link.
    """
    names = [item.path for item in tracked_files(root)]
    names += [path for stage in _stages(root).values() for path in stage.deps]
    problem = manifests.names_problem(dict.fromkeys(names), nested=True)
    if problem is None:
        paths = (root / name for name in names)
        link = next((each for path in paths for each in (path, *path.parents) if each != root and each.is_symlink()
                     and each.is_relative_to(root)), None)  # fmt: skip
        problem = f"has a link at {link.relative_to(root)}, through which data would be written" if link else None
    if problem is not None:
        raise InvalidBytes(
            f"the snapshot of run {source.run} ({source.commit[:12]}) {problem}; nothing was written. Do not restore "
            "it; ask who can write to the repository that it came from"
        )


def _targets(items: list[Tracked]) -> list[list[str]]:
    """What to name to DVC, in calls of their own: it passes over data under ``dvc add`` beside outputs of stages."""
    apart = [[item.target for item in items if item.file], [item.target for item in items if not item.file]]
    return [targets for targets in apart if targets]


def _is_there(root: Path, item: Tracked) -> bool:
    """True for what git itself brought: receipts and metrics."""
    path = root / item.path
    return path.exists() and digest_of(path) == item.digest


def _missing(cache: Path, wanted: list[Tracked]) -> list[tuple[Tracked, str]]:
    """(what is not complete in the cache, how much of it is missing)."""
    found = []
    for item in wanted:
        top = dvc.object_path(cache, item.digest)
        if not top.is_file():
            found.append((item, "all of it"))
        elif item.digest.endswith(".dir"):
            files = read_manifest(cache, item.digest)
            gone = [name for name, md5 in files.items() if not dvc.object_path(cache, md5).is_file()]
            if gone:
                found.append((item, f"{len(gone)} of {len(files)} files, such as {gone[0]}"))
    return found


def _missing_message(
    workspace: Workspace, source: Source, missing: list[tuple[Tracked, str]], cache: Path, looked: list[str]
) -> str:
    lines = [f"{source.version} cannot be restored from the snapshot of run {source.run} ({source.commit[:12]}):"]
    for item, what in missing:
        kind = "raw data" if item.path.startswith("data/") else "an imported model"
        origin = f"stage {item.stage} makes it" if item.stage else f"{kind}: no stage can make it"
        lines.append(f"  {item.path} (md5 {item.digest}): {what} is missing; {origin}")
        here = workspace.root / item.path
        if here.exists() and digest_of(here) == item.digest:
            target = item.stage or item.target
            lines.append(f"    {here} still holds it: `dvc commit {target}` puts it back into the cache")
    lines.append(f"Searched in DVC's cache {cache}")
    lines += [f"  and in {place}" for place in looked] or ["  and nowhere else: no DVC remote is configured"]
    if any(item.stage is None for item, _ in missing):
        lines.append("To get it back, `dvc remote add` a store that has it, or `dvc add` the same files again")
    else:
        lines.append(
            f"Add a DVC remote that has it (`dvc remote add`), or make it again: `stemma reproduce {source.version} "
            "--keep DIR`"
        )
    return "\n".join(lines)


def _make_empty_folders(root: Path) -> None:
    """git keeps no empty folder, but a stage may have read one: ``data/raw`` without any file of the user's."""
    for stage in _stages(root).values():
        for path, digest in stage.deps.items():
            if digest == EMPTY_FOLDER:
                (root / path).mkdir(parents=True, exist_ok=True)


def _unlike_read(root: Path) -> list[str]:
    """Files that git brought and that are not as the stage read them: they were edited before the snapshot."""
    kept = {item.path for item in tracked_files(root)}
    notes: dict[str, list[str]] = {}
    for stage in _stages(root).values():
        for path, digest in stage.deps.items():
            there = (root / path).exists()
            if path not in kept and (not there or digest_of(root / path) != digest):
                notes.setdefault(path, []).append(stage.name)
    return [f"{path} is not as {', '.join(readers)} read it" for path, readers in notes.items()]


def _stages(root: Path) -> dict[str, LockedStage]:
    path = root / "dvc.lock"
    return dvc_lock.stages_of(path.read_bytes(), "dvc.lock") if path.is_file() else {}
