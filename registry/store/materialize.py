"""A version's files, by their digest, from wherever they still are; every file's hash is verified."""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path

from sqlalchemy import select

from core import dvc, layout
from core.errors import DvcError
from core.manifests import FOLDER
from core.workspace import Workspace
from registry.db.database import Registry
from registry.db.database import open as open_registry
from registry.db.schema import Artifact, Association, Event, Execution, Snapshot
from registry.errors import InvalidBytes, MissingBytes
from registry.integrity.history import resolve
from registry.store.manifests import digest_of, read_manifest
from registry.store.run_locks import running


def materialize(workspace: Workspace, reference: str) -> Path:
    """The folder ``<home>/models/<digest>`` with the files of the version that ``reference`` names.

    Raises:
        UnknownReference: no such version.
        MissingBytes: the files were not found in the cache, the workspace or a remote.
        InvalidBytes: files were found, but are not what was recorded.
    """
    with open_registry(workspace.registry_url) as registry:
        with registry.read() as session:
            artifact = resolve(workspace, session, reference).artifact
            session.expunge_all()
        return materialize_artifact(workspace, registry, artifact)


def materialize_artifact(workspace: Workspace, registry: Registry, artifact: Artifact) -> Path:
    """As :func:`materialize`, for any artifact that DVC keeps."""
    target = layout.models(workspace.home) / artifact.digest
    if target.exists():
        if link := next((path for path in (target, *target.rglob("*")) if path.is_symlink()), None):
            raise InvalidBytes(
                f"{link} is a link, so what it leads to may change; delete {target} and try again to take the files "
                "from DVC's cache"
            )
        if (found := digest_of(target)) != artifact.digest:
            raise InvalidBytes(
                f"{target} was altered: its digest is {found}, not {artifact.digest}; delete that folder and try again "
                "to take the files from DVC's cache"
            )
        return target
    target.parent.mkdir(parents=True, exist_ok=True)
    failures = []
    for source in (_from_cache, _from_workspace, _from_snapshot):
        # Made beside the target, so that it appears there at once, complete and verified; no collection meets it.
        with running(workspace.home), tempfile.TemporaryDirectory(prefix=".partial-", dir=target.parent) as folder:
            staging = Path(folder) / "files"
            failure = source(workspace, registry, artifact, staging)
            if failure is None and (found := digest_of(staging)) != artifact.digest:
                failure = f"{source.__doc__}: damaged (digest {found})"
            if failure is None:
                try:
                    os.rename(staging, target)
                except OSError:  # another process was quicker
                    if not target.exists():
                        raise
                return target
            failures.append(failure)
    problem = InvalidBytes if any("damaged" in failure for failure in failures) else MissingBytes
    raise problem(
        f"the files of {artifact.name} (md5 {artifact.digest}) were not found: {'; '.join(failures)}. Bring them back "
        "with `dvc pull` from a remote that has them, or run the pipeline again from the run's snapshot"
    )


def _from_cache(workspace: Workspace, registry: Registry, artifact: Artifact, staging: Path) -> str | None:
    """DVC's cache"""
    try:
        cache = dvc.cache_folder(workspace.root)
    except DvcError as failed:
        return f"DVC's cache: {failed}"
    top = dvc.object_path(cache, artifact.digest)
    if not top.exists():
        return f"DVC's cache: {top} does not exist"
    if not artifact.digest.endswith(FOLDER):
        shutil.copyfile(top, staging)
        return None
    try:
        files = read_manifest(cache, artifact.digest)  # checked as a whole before anything of it is written
    except InvalidBytes as refused:
        return f"DVC's cache: damaged: {refused}"
    for name, md5 in files.items():
        file = dvc.object_path(cache, md5)
        if not file.exists():
            return f"DVC's cache: {file} ({name}) does not exist"
        target = staging / name
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(file, target)
    return None


def _from_workspace(workspace: Workspace, registry: Registry, artifact: Artifact, staging: Path) -> str | None:
    """the workspace"""
    path = workspace.root / artifact.name
    if not path.exists():
        return f"the workspace: {artifact.name} does not exist"
    if digest_of(path) != artifact.digest:
        return f"the workspace: {artifact.name} holds other bytes"
    if path.is_file():
        shutil.copyfile(path, staging)
    else:
        shutil.copytree(path, staging, copy_function=shutil.copyfile)
    return None


def _from_snapshot(workspace: Workspace, registry: Registry, artifact: Artifact, staging: Path) -> str | None:
    """DVC's remote"""
    made = select(Event.execution_id).filter_by(artifact_id=artifact.id, direction="OUTPUT")
    with registry.read() as session:
        commit = session.scalars(
            select(Snapshot.commit_sha)
            .join(Association, Association.context_id == Snapshot.context_id)
            .join(Execution, Execution.id == Association.execution_id)
            .where(Execution.id.in_(made))
            .order_by(Snapshot.id.desc())
        ).first()
    if commit is None:
        return "DVC's remote: no snapshot of a run names it"
    try:
        dvc.run(workspace.root, "get", "--rev", commit, str(workspace.root), artifact.name, "-o", str(staging))
    except DvcError as failed:
        return f"DVC's remote: {str(failed).splitlines()[0]}"
    return None
