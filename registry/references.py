"""Names of model versions: ``MODEL`` (newest version), ``MODEL:VERSION``, ``MODEL@ALIAS``."""

from __future__ import annotations

import re
from dataclasses import dataclass

from sqlalchemy import select
from sqlalchemy.orm import Session

from registry.aliases import current_aliases
from registry.errors import UnknownReference
from registry.schema import ModelVersion, RegisteredModel

_FORM = re.compile(r"(?P<model>[A-Za-z0-9_.\-]+)(?::v?(?P<version>\d+)|@(?P<alias>[A-Za-z0-9_.\-]+))?")


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
    """The version that ``text`` names.

    Raises:
        UnknownReference: no such model, version or alias; the message lists those that there are.
    """
    reference = parse(text)
    model = find_model(session, reference.model)
    versions = session.scalars(select(ModelVersion).filter_by(model_id=model.id).order_by(ModelVersion.version)).all()
    if reference.alias is not None:
        standing = {row.alias: row for row in current_aliases(session, model.id)}
        if reference.alias not in standing:
            known = ", ".join(f"{model.name}@{alias}" for alias in sorted(standing))
            hint = (
                f"known: {known}" if known else f"promote one first: stemma promote {model.name} --to {reference.alias}"
            )
            raise UnknownReference(f"{model.name} has no alias {reference.alias!r}; {hint}")
        return standing[reference.alias].to_version
    if reference.version is None:
        return versions[-1]
    for version in versions:
        if version.version == reference.version:
            return version
    numbers = ", ".join(str(version.version) for version in versions)
    raise UnknownReference(f"{model.name} has no version {reference.version}; known: {numbers}")


def find_model(session: Session, name: str) -> RegisteredModel:
    """The registered model ``name``.

    Raises:
        UnknownReference: there is none; the message lists those that there are.
    """
    model = session.scalars(select(RegisteredModel).filter_by(name=name)).first()
    if model is None:
        names = sorted(session.scalars(select(RegisteredModel.name)))
        hint = f"known: {', '.join(names)}" if names else "the registry is empty, run `stemma run` first"
        raise UnknownReference(f"no model is called {name!r}; {hint}")
    return model
