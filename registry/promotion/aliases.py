"""Who holds an alias: the version that the latest promotion or rollback gave it to."""

from __future__ import annotations

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from registry.db.schema import Promotion


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
