"""Names of model versions: ``MODEL`` (newest version), ``MODEL:VERSION``, ``MODEL@ALIAS``; and starts of digests.

An alias is held by the version that its latest promotion or rollback gave it to.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from registry.db.schema import Artifact, ModelVersion, Promotion, RegisteredModel
from registry.errors import UnknownReference

_FORM = re.compile(r"(?P<model>[A-Za-z0-9_.\-]+)(?::v?(?P<version>\d+)|@(?P<alias>[A-Za-z0-9_.\-]+))?")
_DIGEST = re.compile(r"[0-9a-f]{6,64}(\.dir)?")


@dataclass(frozen=True)
class Reference:
    """A parsed name; at most one of ``version`` and ``alias`` is set."""

    model: str
    version: int | None = None
    alias: str | None = None


def parse(text: str) -> Reference:
    """Parse ``assistant``, ``assistant:3`` (or ``:v3``) or ``assistant@champion``.

    Raises:
        UnknownReference: the text has none of the three forms.
    """
    found = _FORM.fullmatch(text.strip())
    if found is None:
        raise UnknownReference(f"{text!r} does not name a model; write MODEL, MODEL:VERSION or MODEL@ALIAS")
    version = found["version"]
    return Reference(found["model"], int(version) if version else None, found["alias"])


def resolve(session: Session, text: str) -> ModelVersion:
    """The version that ``text`` names: by one of the three forms, or by the start of its digest (six digits or more).

    Raises:
        UnknownReference: no such model, version or alias (the message lists those that there are), or an ambiguous
            digest.
    """
    reference = parse(text)
    if _DIGEST.fullmatch(text.strip()) and not _is_model(session, reference.model):
        return _version_of(session, text.strip())
    model = find_model(session, reference.model)
    if reference.alias is not None:
        standing = {row.alias: row for row in current_aliases(session, model.id)}
        if reference.alias not in standing:
            known = ", ".join(f"{model.name}@{alias}" for alias in sorted(standing))
            hint = (
                f"known: {known}" if known else f"promote one first: stemma promote {model.name} --to {reference.alias}"
            )
            raise UnknownReference(f"{model.name} has no alias {reference.alias!r}; {hint}")
        return standing[reference.alias].to_version
    versions = select(ModelVersion).filter_by(model_id=model.id).order_by(ModelVersion.version.desc())
    if reference.version is None:
        return session.scalars(versions.limit(1)).one()
    found = session.scalars(versions.filter_by(version=reference.version)).first()
    if found is not None:
        return found
    newest = [str(version.version) for version in session.scalars(versions.limit(10))]
    earlier = "..., " if len(newest) == 10 and newest[-1] != "1" else ""
    raise UnknownReference(
        f"{model.name} has no version {reference.version}; known: {earlier}{', '.join(reversed(newest))}"
    )


def find_model(session: Session, name: str) -> RegisteredModel:
    """The registered model ``name``.

    Raises:
        UnknownReference: there is none; the message lists those that there are.
    """
    model = session.scalars(select(RegisteredModel).filter_by(name=name)).first()
    if model is None:
        names = sorted(session.scalars(select(RegisteredModel.name)))
        hint = f"known: {', '.join(names)}" if names else "the registry is empty, run `stemma run` first"
        raise UnknownReference(f"there is no model {name!r}; {hint}")
    return model


def _is_model(session: Session, name: str) -> bool:
    return session.scalars(select(RegisteredModel.id).filter_by(name=name)).first() is not None


def _version_of(session: Session, prefix: str) -> ModelVersion:
    """The version whose digest starts with ``prefix``."""
    artifacts = [row.id for row in find_artifacts(session, prefix)]
    versions = list(session.scalars(select(ModelVersion).where(ModelVersion.artifact_id.in_(artifacts))))
    if not versions:
        what = "is not the digest of a model version" if artifacts else "is not the start of a recorded digest"
        raise UnknownReference(f"{prefix} {what}; `stemma models` lists the versions with their digests")
    if len(versions) > 1:
        raise UnknownReference(f"{prefix} matches several versions: {', '.join(map(str, versions))}; name one of them")
    return versions[0]


def find_artifacts(session: Session, prefix: str) -> list[Artifact]:
    """The artifacts with the digest that ``prefix`` starts; several only where bytes were recorded as several types.

    Raises:
        UnknownReference: ``prefix`` starts more than one digest.
    """
    # Digests are hexadecimal, some with ".dir" behind them: "g" sorts behind them all in every database.
    span = select(Artifact).where(Artifact.digest >= prefix, Artifact.digest < f"{prefix}g").order_by(Artifact.id)
    found = list(session.scalars(span.limit(100)))
    digests = sorted({row.digest for row in found})
    if len(digests) > 1:
        raise UnknownReference(
            f"{prefix} is the start of {len(digests) if len(found) < 100 else 'many'} digests; write more of it: "
            f"{', '.join(digests[:4])}{' ...' if len(digests) > 4 else ''}"
        )
    return found


def current_aliases(session: Session, model_id: int | None = None) -> list[Promotion]:
    """The standing promotion of every alias (of one model, where given), by model and alias."""
    latest = (
        select(func.max(Promotion.id)).where(Promotion.action != "reject").group_by(Promotion.model_id, Promotion.alias)
    )
    if model_id is not None:
        latest = latest.where(Promotion.model_id == model_id)
    return list(
        session.scalars(select(Promotion).where(Promotion.id.in_(latest)).order_by(Promotion.model_id, Promotion.alias))
    )


def current(session: Session, model_id: int, alias: str) -> Promotion | None:
    """The standing promotion of one alias."""
    return next((row for row in current_aliases(session, model_id) if row.alias == alias), None)


def aliases_by_version(session: Session) -> dict[int, list[str]]:
    """The aliases that each version holds, by the version's id."""
    aliases: dict[int, list[str]] = {}
    for row in current_aliases(session):
        aliases.setdefault(row.to_version_id, []).append(row.alias)
    return aliases
