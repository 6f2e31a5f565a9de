"""What a signature says besides the files' digests: which version it is, and the digests of what it was made from.

An OpenSSF model signature is an in-toto statement over a list of files. Its predicate is made to grow: verifiers of
version 1.0 read ``resources`` and ``serialization`` and pass over the rest. Stemma adds ``lineage``, so one signature
covers the bytes and the parents, and ``model_signing verify key`` checks it without knowing Stemma.
"""

from __future__ import annotations

import base64
import json
from dataclasses import asdict, dataclass
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from registry.db.schema import Artifact, Event, ModelVersion
from registry.errors import InvalidBytes


@dataclass(frozen=True)
class Parent:
    """An artifact that a version was made from. ``name`` is its path in the workspace."""

    name: str
    role: str
    hash_algo: str
    digest: str


@dataclass(frozen=True)
class Statement:
    """What is signed about a version besides its files.

    Attributes:
        version: ``model:version``.
        hash_algo, digest: DVC's address of the version's files.
        stage, fingerprint: the execution that made them.
        parents: everything that execution read, by input name.
    """

    version: str
    hash_algo: str
    digest: str
    stage: str
    fingerprint: str
    parents: tuple[Parent, ...]

    @classmethod
    def of(cls, session: Session, version: ModelVersion) -> Statement:
        """What the registry knows of a version."""
        rows = session.execute(
            select(Event, Artifact)
            .join(Artifact, Artifact.id == Event.artifact_id)
            .where(Event.execution_id == version.execution_id, Event.direction == "INPUT")
            .order_by(Event.name)
        )
        return cls(
            str(version),
            version.artifact.hash_algo,
            version.artifact.digest,
            version.execution.stage,
            version.execution.fingerprint,
            tuple(Parent(event.path, event.role, artifact.hash_algo, artifact.digest) for event, artifact in rows),
        )

    def as_dict(self) -> dict[str, Any]:
        return json.loads(json.dumps(asdict(self)))  # tuples as lists, as they come back from a bundle

    def differences(self, signed: dict[str, Any]) -> list[str]:
        """What a signed statement says otherwise, one line each."""
        mine, found = self.as_dict(), []
        for name in ("version", "hash_algo", "digest", "stage", "fingerprint"):
            if mine[name] != signed.get(name):
                found.append(f"{name}: registry {mine[name]}, signed {signed.get(name)}")
        theirs = {(parent["name"], parent["role"]): parent["digest"] for parent in signed.get("parents", [])}
        ours = {(parent.name, parent.role): parent.digest for parent in self.parents}
        for name, role in sorted(ours.keys() | theirs.keys()):
            registered, stated = ours.get((name, role)), theirs.get((name, role))
            if registered != stated:
                found.append(f"parent {name} ({role}): registry {registered or 'none'}, signed {stated or 'none'}")
        return found


def lineage_in(bundle: str) -> dict[str, Any] | None:
    """The lineage that a bundle states; ``None`` where it was signed without. To be asked after it was verified.

    Raises:
        InvalidBytes: it is no bundle.
    """
    try:
        payload = json.loads(base64.b64decode(json.loads(bundle)["dsseEnvelope"]["payload"]))
        return payload["predicate"].get("lineage")
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise InvalidBytes(f"the signature is no bundle ({error})") from error
