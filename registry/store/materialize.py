"""A version's files, by their digest, from wherever they still are; every file's hash is verified.

DVC's addressing: a file's digest is its md5; a folder's is the md5 of its manifest (the JSON list of relpath and md5,
sorted by relpath) with ``.dir`` behind it, so verifying a folder verifies names and bytes at once.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterable
from pathlib import Path

from sqlalchemy import select

from core import dvc
from core.errors import DvcError
from core.workspace import Workspace
from registry.db.database import Registry
from registry.db.database import open as open_registry
from registry.db.references import resolve
from registry.db.schema import Artifact, Association, Execution, Snapshot
from registry.errors import InvalidBytes, MissingBytes


def materialize(workspace: Workspace, reference: str) -> Path:
    """The folder ``<home>/models/<digest>`` with the files of the version that ``reference`` names.

    Raises:
        UnknownReference: no such version.
        MissingBytes: the files are nowhere to be had.
        InvalidBytes: files are there, but are not what was recorded.
    """
    with open_registry(workspace.registry_url) as registry:
        with registry.read() as session:
            artifact = resolve(session, reference).artifact
            session.expunge_all()
        return materialize_artifact(workspace, registry, artifact)


def materialize_artifact(workspace: Workspace, registry: Registry, artifact: Artifact) -> Path:
    """As :func:`materialize`, for any artifact that DVC keeps."""
    target = workspace.home / "models" / artifact.digest
    if target.exists():
        if (found := digest_of(target)) != artifact.digest:
            raise InvalidBytes(
                f"{target} was altered: its digest is {found}, not {artifact.digest}; delete that folder and try again "
                "to take the files from DVC's cache"
            )
        return target
    target.parent.mkdir(parents=True, exist_ok=True)
    failures = []
    for source in (_from_cache, _from_workspace, _from_snapshot):
        # Made beside the target, so that it appears there at once, complete and verified.
        with tempfile.TemporaryDirectory(prefix=".partial-", dir=target.parent) as folder:
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
        f"the files of {artifact.name} (md5 {artifact.digest}) cannot be had: {'; '.join(failures)}. Bring them back "
        "with `dvc pull` from a remote that has them, or run the pipeline again from the run's snapshot"
    )


def digest_of(path: Path, names: Iterable[str] | None = None) -> str:
    """DVC's digest of a file or folder; of a folder with none but the files called ``names``, where they are given."""
    if path.is_file():
        return _md5(path)
    if names is None:
        names = (file.relative_to(path).as_posix() for file in path.rglob("*") if file.is_file())
    files = sorted(names)
    manifest = json.dumps([{"md5": _md5(path / name), "relpath": name} for name in files], sort_keys=True)
    return hashlib.md5(manifest.encode(), usedforsecurity=False).hexdigest() + ".dir"


def _md5(path: Path) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()


def _from_cache(workspace: Workspace, registry: Registry, artifact: Artifact, staging: Path) -> str | None:
    """DVC's cache"""
    try:
        cache = dvc.cache_folder(workspace.root) / "files" / artifact.hash_algo
    except DvcError as failed:
        return f"DVC's cache: {failed}"
    top = cache / artifact.digest[:2] / artifact.digest[2:]
    if not top.exists():
        return f"DVC's cache: {top} is not there"
    if not artifact.digest.endswith(".dir"):
        shutil.copyfile(top, staging)
        return None
    for entry in json.loads(top.read_bytes()):
        file = cache / entry["md5"][:2] / entry["md5"][2:]
        if not file.exists():
            return f"DVC's cache: {file} ({entry['relpath']}) is not there"
        target = staging / entry["relpath"]
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(file, target)
    return None


def _from_workspace(workspace: Workspace, registry: Registry, artifact: Artifact, staging: Path) -> str | None:
    """the workspace"""
    path = workspace.root / artifact.name
    if not path.exists():
        return f"the workspace: {artifact.name} is not there"
    if digest_of(path) != artifact.digest:
        return f"the workspace: {artifact.name} holds other bytes"
    if path.is_file():
        shutil.copyfile(path, staging)
    else:
        shutil.copytree(path, staging, copy_function=shutil.copyfile)
    return None


def _from_snapshot(workspace: Workspace, registry: Registry, artifact: Artifact, staging: Path) -> str | None:
    """DVC's remote"""
    with registry.read() as session:
        commit = session.scalars(
            select(Snapshot.commit_sha)
            .join(Association, Association.context_id == Snapshot.context_id)
            .join(Execution, Execution.id == Association.execution_id)
            .where(_made(artifact))
            .order_by(Snapshot.id.desc())
        ).first()
    if commit is None:
        return "DVC's remote: no run's snapshot says where to look"
    done = _dvc(workspace, "get", "--rev", commit, str(workspace.root), artifact.name, "-o", str(staging))
    if done.returncode:
        reason = done.stderr.strip().splitlines()
        return f"DVC's remote: {reason[0] if reason else 'failed'}"
    return None


def _made(artifact: Artifact):
    from registry.db.schema import Event

    return Execution.id.in_(select(Event.execution_id).filter_by(artifact_id=artifact.id, direction="OUTPUT"))


def _dvc(workspace: Workspace, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "dvc", *arguments],
        cwd=workspace.root,
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "DVC_NO_ANALYTICS": "1"},
    )
