"""What descends from some bytes: artifacts, model versions, aliases and deployments.

This answers a deletion request: which models, deployed or not, were made from this file?
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from core.workspace import Workspace
from registry.db.references import aliases_by_version, find_artifacts, resolve
from registry.db.schema import Artifact, Deployment, ModelVersion
from registry.errors import MissingBytes, UnknownReference
from registry.lineage import receipts
from registry.lineage.traversal import Reached, chunks, downstream
from registry.store.manifests import FolderManifests, md5_of

_DIGEST = re.compile(r"(?:md5:)?([0-9a-f]{6,64}(?:\.dir)?)")
NOW = ("STARTING", "SERVING")  # states of a deployment that answers, or is about to


@dataclass
class Origin:
    """Bytes that the search starts from: a version of a folder that holds the file, an artifact, a model version.

    Attributes:
        file: path of the file in the folder; ``None`` for the whole artifact.
        file_digest: md5 of the file there.
    """

    type: str
    name: str
    digest: str
    file: str | None = None
    file_digest: str | None = None


@dataclass
class Descendant:
    """An artifact that descends; ``distance`` in executions."""

    type: str
    name: str
    digest: str
    size: int | None
    distance: int


@dataclass
class AffectedDeployment:
    """A deployment of a version that descends; ``serving`` as last recorded."""

    name: str
    version: str
    url: str | None
    state: str
    serving: bool


@dataclass
class AffectedVersion:
    """A model version that descends; ``distance`` in executions."""

    model: str
    version: int
    digest: str
    aliases: list[str]
    distance: int

    def __str__(self) -> str:
        return f"{self.model}:{self.version}"


@dataclass
class Impact:
    """Everything downstream of ``subject``."""

    subject: str
    origins: list[Origin] = field(default_factory=list)
    artifacts: list[Descendant] = field(default_factory=list)
    versions: list[AffectedVersion] = field(default_factory=list)
    aliases: dict[str, str] = field(default_factory=dict)
    deployments: list[AffectedDeployment] = field(default_factory=list)

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


def impact(
    session: Session, workspace: Workspace, subject: str, missing: Callable[[str], None] | None = None
) -> Impact:
    """What descends from a path, a digest (or the start of one), or a model version.

    A path or md5 of a file inside a folder stands for the recorded versions of the folder that hold it. A path stands
    for every content that was ever recorded under it, and for copies of these contents under other names.

    Args:
        missing: called, in place of the error, with what could not be looked through; the answer is then incomplete.

    Raises:
        UnknownReference: nothing of that name is recorded, or the digest's start is ambiguous.
        MissingBytes: models descend from a folder whose list of files is not available: the answer is incomplete.
    """
    found = Impact(subject)
    path = _path(workspace, subject)
    digest = _DIGEST.fullmatch(subject)
    if path is not None:
        starts = _of_path(session, workspace, path, found, missing)
    elif digest is not None:
        starts = _of_digest(session, workspace, digest[1], found, missing)
    else:
        version = resolve(session, subject)
        found.origins.append(_origin(version.artifact))
        _collect(session, found, downstream(session, [version.artifact_id], version.execution_id))
        return found
    _collect(session, found, downstream(session, starts))
    return found


def _path(workspace: Workspace, text: str) -> str | None:
    """``text`` as a path from the workspace's root, if it is one."""
    absolute = Path(text).absolute()
    if "/" not in text and not absolute.exists():
        return None
    for candidate in (absolute, workspace.root / text):
        normal = Path(*_normal(candidate.parts))
        if normal.is_relative_to(workspace.root) and (candidate.exists() or candidate == workspace.root / text):
            return normal.relative_to(workspace.root).as_posix()
    if "/" not in text:
        return None
    raise UnknownReference(f"{text} is outside the workspace {workspace.root}; name a file inside it, or an md5")


def _normal(parts: Iterable[str]) -> list[str]:
    """Without ``.`` and ``..``, links left as they are."""
    kept: list[str] = []
    for part in parts:
        if part == "..":
            del kept[max(1, len(kept) - 1) :]  # above the root is the root
        elif part != ".":
            kept.append(part)
    return kept


def _of_path(
    session: Session, workspace: Workspace, path: str, found: Impact, missing: Callable[[str], None] | None
) -> list[int]:
    whole = list(session.scalars(select(Artifact).where(Artifact.name == path)))
    if whole:
        current = _current_digest(workspace, path)
        now = [row for row in whole if row.digest == current] or whole
        found.origins += [_origin(row) for row in now]
        return [row.id for row in now]
    above = [parent.as_posix() for parent in Path(path).parents][:-1]
    folders = list(session.scalars(select(Artifact).where(Artifact.name.in_(above))))
    if not folders:
        raise UnknownReference(
            f"{path} is in no recorded folder; name a file of data/raw or what a stage made, or run `stemma sync` first"
        )
    name = {row.id: Path(path).relative_to(row.name).as_posix() for row in folders}
    listed = _listed(session, workspace, folders, missing)
    contents = {files[name[row.id]] for row, files in listed if name[row.id] in files}
    if (workspace.root / path).is_file():
        contents.add(md5_of(workspace.root / path))
    starts = _holding(listed, contents, found)
    if not starts:
        versions = f"{len(folders)} recorded version{'s' if len(folders) > 1 else ''} of {folders[0].name}"
        raise UnknownReference(f"{path} is in none of the {versions}, so nothing was ever made from it")
    return starts


def _of_digest(
    session: Session, workspace: Workspace, digest: str, found: Impact, missing: Callable[[str], None] | None
) -> list[int]:
    whole = find_artifacts(session, digest)
    if whole:
        found.origins += [_origin(row) for row in whole]
        return [row.id for row in whole]
    raw = list(session.scalars(select(Artifact).where(Artifact.type == "raw")))
    listed = _listed(session, workspace, raw, missing)
    contents = {md5 for _, files in listed for md5 in files.values() if md5.startswith(digest)}
    if len(contents) > 1:
        raise UnknownReference(f"{digest} starts the md5 of {len(contents)} raw files; write more of it: "
                               f"{', '.join(sorted(contents)[:4])}")  # fmt: skip
    if not contents:
        raise UnknownReference(
            f"no recorded artifact, nor a file of recorded raw data, has a digest that starts with {digest}; "
            "`stemma trace MODEL` shows those of a model"
        )
    return _holding(listed, contents, found)


def _holding(listed: list[tuple[Artifact, dict[str, str]]], contents: set[str], found: Impact) -> list[int]:
    """Ids of the folders that hold a file of one of the contents, each noted as an origin."""
    starts = []
    for row, files in listed:
        held = sorted((name, md5) for name, md5 in files.items() if md5 in contents)
        if held:
            starts.append(row.id)
        found.origins += [_origin(row, name or None, md5) for name, md5 in held]
    return starts


def _listed(
    session: Session, workspace: Workspace, folders: list[Artifact], missing: Callable[[str], None] | None
) -> list[tuple[Artifact, dict[str, str]]]:
    """The folders with their files.

    Raises:
        MissingBytes: models descend from a folder whose files are not listed anywhere.
    """
    manifests = FolderManifests(workspace)
    listed, unknown = [], []
    for row in folders:
        files = manifests.files(row.digest, row.name)
        if files is not None:
            listed.append((row, files))
        elif _versions_made(session, downstream(session, [row.id])):
            unknown.append(row)
    if unknown:
        names = ", ".join(f"{row.name} {row.digest[:12]}" for row in unknown)
        why = (
            f"models descend from {names}, whose list of files is not in DVC's cache, so the answer would be "
            "incomplete; get it with `dvc fetch --all-commits`, or give the folder's digest instead"
        )
        if missing is None:
            raise MissingBytes(why)
        missing(why)
    return listed


def _current_digest(workspace: Workspace, path: str) -> str | None:
    record = receipts.read(workspace.root)
    made = [item for stage in record.stages for item in (*stage.outputs, *stage.inputs)]
    return next((item.digest for item in (*record.raw, *made) if item.path == path), None)


def _origin(row: Artifact, file: str | None = None, file_digest: str | None = None) -> Origin:
    return Origin(row.type, row.name, row.digest, file, file_digest)


def _collect(session: Session, found: Impact, reached: Reached) -> None:
    """Fill in what the reached ids are."""
    aliases = aliases_by_version(session)
    for chunk in chunks([artifact_id for artifact_id, distance in reached.artifacts.items() if distance]):
        rows = session.execute(
            select(Artifact.id, Artifact.type, Artifact.name, Artifact.digest, Artifact.size).where(
                Artifact.id.in_(chunk)
            )
        )
        found.artifacts += [
            Descendant(row.type, row.name, row.digest, row.size, reached.artifacts[row.id]) for row in rows
        ]
    found.artifacts.sort(key=lambda artifact: (artifact.distance, artifact.name, artifact.digest))
    versions = _versions_made(session, reached)
    for version in versions:
        affected = AffectedVersion(
            version.model.name,
            version.version,
            version.artifact.digest,
            aliases.get(version.id, []),
            reached.executions[version.execution_id],
        )
        found.versions.append(affected)
        found.aliases |= {f"{affected.model}@{alias}": str(affected) for alias in affected.aliases}
    found.versions.sort(key=lambda version: (version.distance, version.model, version.version))
    for chunk in chunks([version.id for version in versions]):
        for row in session.scalars(select(Deployment).where(Deployment.version_id.in_(chunk)).order_by(Deployment.id)):
            serving = row.state in NOW and row.ended is None
            found.deployments.append(AffectedDeployment(row.name, str(row.version), row.url, row.state, serving))
    found.deployments.sort(key=lambda service: (not service.serving, service.name))


def _versions_made(session: Session, reached: Reached) -> list[ModelVersion]:
    found: list[ModelVersion] = []
    for chunk in chunks(reached.executions):
        found += session.scalars(select(ModelVersion).where(ModelVersion.execution_id.in_(chunk)))
    return found
