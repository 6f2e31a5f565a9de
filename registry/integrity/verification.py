"""Whether a version's files are what was registered and signed, and whether the signing keys are trusted here."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from core import files
from core.workspace import Workspace
from registry.db.database import Registry
from registry.db.database import open as open_registry
from registry.db.schema import Artifact, ModelVersion, Signature
from registry.errors import InvalidBytes, UnknownReference
from registry.integrity.history import resolve
from registry.integrity.signing import Statement, check_signature, lineage_in
from registry.store.manifests import digest_of
from registry.store.materialize import materialize_artifact


@dataclass(frozen=True)
class Verified:
    """What held.

    Attributes:
        version: ``model:version``.
        digest: of the files, hashed now.
        keys: ids of the keys (or identities) whose signatures hold; all that the version has.
        parents: what the signed statement says it was made from; ``None`` where its signature is of the first release.
        files: the folder that was checked.
    """

    version: str
    digest: str
    keys: list[str]
    parents: list[dict[str, Any]] | None
    files: Path

    def as_dict(self) -> dict[str, Any]:
        return {**asdict(self), "files": str(self.files)}


def verify(workspace: Workspace, reference: str) -> Verified:
    """Check a version's files against its digest, and every signature it has.

    Raises:
        UnknownReference, MissingBytes: there is nothing to verify.
        InvalidBytes: the files are not what was recorded or signed, or are not signed.
        KeyProblem: they were signed by a key that is not trusted here.
    """
    with open_registry(workspace.registry_url) as registry:
        return verify_version(workspace, registry, reference)


def verify_version(workspace: Workspace, registry: Registry, reference: str) -> Verified:
    """As :func:`verify`, in an open registry."""
    with registry.read() as session:
        version = resolve(workspace, session, reference)
        artifact, signed = version.artifact, signatures_of(session, version)
        statement = Statement.of(session, version)
        session.expunge_all()
    return _verified(workspace, materialize_artifact(workspace, registry, artifact), signed, statement)


def verify_folder(workspace: Workspace, folder: Path) -> list[Verified]:
    """Check a folder, wherever it came from: it must hold exactly the files of a registered, signed version.

    Returns:
        One for each version that has these files; equal bytes may be registered under two names.

    Raises:
        UnknownReference: there is no such folder, or no registered version has these files.
        InvalidBytes, KeyProblem: as :func:`verify`.
    """
    if not folder.is_dir():
        raise UnknownReference(f"{folder} is not a folder; name one with a model's files")
    digest = digest_of(folder)
    with open_registry(workspace.registry_url) as registry, registry.read() as session:
        rows = session.scalars(
            select(ModelVersion)
            .join(Artifact, Artifact.id == ModelVersion.artifact_id)
            .where(Artifact.digest == digest)
        ).all()
        found = [(signatures_of(session, row), Statement.of(session, row)) for row in rows]
        session.expunge_all()
    if not found:
        raise InvalidBytes(
            f"{folder} (digest {digest}) is not a registered version: it was altered, or never registered; compare it "
            "with `stemma models`, and do not use it as a registered model"
        )
    signed = [each for each in found if each[0]] or found
    return [_verified(workspace, folder, signatures, statement) for signatures, statement in signed]


def signatures_of(session: Session, version: ModelVersion) -> list[Signature]:
    return list(session.scalars(select(Signature).filter_by(version_id=version.id).order_by(Signature.id)))


def _verified(workspace: Workspace, folder: Path, signatures: list[Signature], statement: Statement) -> Verified:
    name = statement.version
    if not signatures:
        raise InvalidBytes(f"{name} is not signed; promoting it signs it: stemma promote {name}")
    for signature in signatures:
        check_signature(workspace, folder, signature, statement)
    lineage = lineage_in(signatures[-1].bundle)
    return Verified(
        name, statement.digest, [each.key_id for each in signatures], lineage["parents"] if lineage else None, folder
    )


def write_bundle(workspace: Workspace, reference: str, path: Path) -> None:
    """Write a version's newest signature to a file, which ``model_signing verify`` reads.

    Raises:
        UnknownReference: no such version.
        InvalidBytes: it is not signed.
    """
    with open_registry(workspace.registry_url) as registry, registry.read() as session:
        version = resolve(workspace, session, reference)
        signatures = signatures_of(session, version)
        if not signatures:
            raise InvalidBytes(f"{version} is not signed; promoting it signs it: stemma promote {version}")
        files.write_text(path, signatures[-1].bundle)
