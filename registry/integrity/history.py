"""Whether the promotions may be believed: every reader of an alias asks this first.

One query reads all rows, the hashes tie them together, and the last signature covers them all; so it is quick, however
long the history is. That the end was not cut off shows in the repository (:mod:`registry.integrity.anchor`).
"""

from __future__ import annotations

from sqlalchemy import select
from sqlalchemy.orm import Session

from core import keys
from core.errors import KeyProblem
from core.workspace import Workspace
from registry.db.references import resolve as resolve_reference
from registry.db.schema import GENESIS, ModelVersion, SignedStatement
from registry.errors import UnsoundHistory
from registry.integrity import anchor
from registry.integrity.chain import Link, broken_link, links
from registry.integrity.statements import PROMOTION, START, lost_history, promotion_body

_believed: dict[str, tuple[list[Link], str | None]] = {}  # by database: what was believed last; a gateway asks often


def resolve(workspace: Workspace, session: Session, text: str) -> ModelVersion:
    """The version that ``text`` names; where it names an alias, after the history was checked.

    Raises:
        UnknownReference: as :func:`registry.db.references.resolve`.
        UnsoundHistory, KeyProblem: as :func:`require`.
    """
    version = resolve_reference(session, text)
    require_for(workspace, session, text)
    return version


def require_for(workspace: Workspace, session: Session, *texts: str) -> None:
    """As :func:`require`, where one of the texts names an alias."""
    if any("@" in text for text in texts):
        require(workspace, session)


def require(workspace: Workspace, session: Session) -> None:
    """Refuse a history that is not what was signed.

    Raises:
        UnsoundHistory: a row was changed, removed or added without the key.
        KeyProblem: the key that signed it is not trusted here.
    """
    rows, last = links(session), _last(session)
    seen = (rows, last.signature if last else None)
    if _believed.get(workspace.registry_url) == seen:
        return
    if why := _fault(workspace, session, rows, last):
        raise UnsoundHistory(f"the registry's promotions are not what was signed: {why}. `stemma audit` says more")
    _believed[workspace.registry_url] = seen


def _fault(workspace: Workspace, session: Session, rows: list[Link], last: SignedStatement | None) -> str | None:
    if (broken := broken_link(rows)) is not None:
        return f"promotion {broken.id} ({broken.alias}) was changed, removed or inserted"
    tip = anchor.newest(workspace.root)
    if last is None:
        # Rows of a version that did not sign: they are adopted by the first command that writes.
        return lost_history(tip) if tip is not None and not anchor.is_recorded(session, tip) else None
    if why := _uncovered(rows, last):
        return why
    trusted = keys.trusted_keys(workspace)
    if last.key_id not in trusted:
        raise KeyProblem(keys.not_trusted(workspace, trusted, last.key_id, "the registry's history of promotions"))
    if (why := keys.fault(trusted, last.signed)) is not None:
        return why
    return lost_history(tip) if tip is not None and not anchor.is_recorded(session, tip) else None


def _last(session: Session) -> SignedStatement | None:
    return session.scalars(select(SignedStatement).order_by(SignedStatement.id.desc()).limit(1)).first()


def _uncovered(rows: list[Link], last: SignedStatement) -> str | None:
    """Why the last statement is not about the last row."""
    body = last.signed.said
    names = {START: ("promotions", "head"), PROMOTION: ("number", "hash")}.get(str(body.get("kind")))
    if names is None:
        return "a statement is of no known kind"
    count, head = (body.get(name) for name in names)
    if not isinstance(count, int):
        return "a statement does not say how many promotions it is about"
    if len(rows) > count:
        return f"{rows[count]} is not signed"
    if len(rows) < count:
        return f"{count} promotions were signed, and {len(rows)} are there"
    if head != (rows[-1].hash if rows else GENESIS):
        return f"{rows[-1]} is not the one that was signed"
    if body["kind"] == PROMOTION and any(
        body.get(key) != value for key, value in promotion_body(rows[-1], count).items()
    ):
        return f"{rows[-1]} is not what was signed"
    return None
