"""Back to a version that held the alias before, after its bytes and signature were verified."""

from __future__ import annotations

from sqlalchemy import select
from sqlalchemy.orm import Session

from core.errors import KeyProblem
from core.workspace import Workspace
from registry.db.database import open as open_registry
from registry.db.references import current, find_model
from registry.db.schema import ModelVersion, Promotion
from registry.errors import InvalidBytes, MissingBytes, NotCheckable, PromotionRefused
from registry.integrity import history
from registry.integrity.verification import verify_version
from registry.promotion.gate import Check, Verdict
from registry.promotion.mirror import mirror
from registry.promotion.promote import PromotionOutcome, append, check_request
from registry.store.run_locks import running


def rollback(
    workspace: Workspace, model: str, reason: str, actor: str, *, alias: str = "champion", to_version: int | None = None
) -> PromotionOutcome:
    """Give ``alias`` back to its previous holder, or to the one named, and record it. MLflow's alias is set too.

    A second rollback goes back one further: a version that was rolled back from is not a previous holder any more. The
    same request again (same actor and reason), or one to the version that holds the alias, changes nothing: a
    command that was killed and is repeated gives what the first one meant.

    Raises:
        PromotionRefused: there is nothing to go back to, or its files are damaged, missing or not signed by a trusted
            key; nothing was changed.
        PromotionConflict: another promotion moved the alias meanwhile.
        UnknownReference: no such model.
    """
    check_request(alias, reason, actor)
    with running(workspace.home), open_registry(workspace.registry_url) as registry:
        with registry.read() as session:
            history.require(workspace, session)
            row = find_model(session, model)
            standing = current(session, row.id, alias)
            if standing is not None and _repeated(standing, reason.strip(), actor.strip(), to_version):
                number = standing.to_version.version
                session.expunge_all()
                return PromotionOutcome(
                    "unchanged", row.name, number, alias, number, mirror=mirror(workspace, registry)
                )
            target = _target(session, row.id, f"{row.name}@{alias}", standing, to_version)
            name, held = str(target), str(standing.to_version)
            _ = target.model, target.artifact, standing.to_version.model
            session.expunge_all()
        try:
            verified = verify_version(workspace, registry, name)
        except (InvalidBytes, MissingBytes, NotCheckable, KeyProblem) as error:
            raise PromotionRefused(
                f"{name} cannot be restored, so {held} stays {row.name}@{alias}: {error}. Another version: "
                f"stemma rollback {row.name} --to-version N (see `stemma history {row.name}`)"
            ) from error
        verdict = Verdict(row.name, target.version, target.artifact.digest, alias, standing.to_version.version)
        keys = ", ".join(key[:12] for key in verified.keys)
        verdict.checks = [
            Check("held the alias before", True, f"{name} was {row.name}@{alias}"),
            Check("bytes", True, f"md5 {verified.digest}, hashed now"),
            Check("signatures valid", True, f"by key {keys}, over the files and the parents' digests"),
        ]
        promotion = Promotion(
            model_id=row.id,
            alias=alias,
            from_version_id=standing.to_version_id,
            to_version_id=target.id,
            action="rollback",
            forced=False,
            passed=True,
            actor=actor.strip(),
            reason=reason.strip(),
        )
        path = append(workspace, registry, promotion, standing.id, verdict)
        return PromotionOutcome(
            "rollback",
            row.name,
            target.version,
            alias,
            standing.to_version.version,
            False,
            verdict,
            path,
            promotion.hash,
            verified.keys[-1],
            mirror(workspace, registry),
        )


def _repeated(standing: Promotion, reason: str, actor: str, to_version: int | None) -> bool:
    """Whether a request asks for what is so already."""
    if to_version is not None:
        return standing.to_version.version == to_version
    return standing.action == "rollback" and (standing.reason, standing.actor) == (reason, actor)


def holders(session: Session, model_id: int, alias: str) -> list[ModelVersion]:
    """The alias's holders as a stack, the present one last: a rollback removes what it goes back from."""
    stack: list[ModelVersion] = []
    rows = session.scalars(select(Promotion).filter_by(model_id=model_id, alias=alias).order_by(Promotion.id))
    for row in rows:
        if row.action == "rollback" and row.to_version in stack:
            while stack[-1] is not row.to_version:
                stack.pop()
        elif row.action != "reject":
            stack.append(row.to_version)
    return stack


def _target(
    session: Session, model_id: int, name: str, standing: Promotion | None, to_version: int | None
) -> ModelVersion:
    model = name.partition("@")[0]
    if standing is None:
        alias = name.partition("@")[2]
        raise PromotionRefused(
            f"no version holds {name} yet, so there is none to go back to; promote one: stemma promote {model} "
            f"--to {alias} --reason TEXT"
        )
    if to_version is None:
        stack = holders(session, model_id, standing.alias)
        if len(stack) < 2:
            raise PromotionRefused(
                f"{standing.to_version} is the first {name}, so there is none to go back to; promote another version "
                f"instead (see `stemma models`)"
            )
        return stack[-2]
    rows = session.scalars(
        select(Promotion).filter_by(model_id=model_id, alias=standing.alias).where(Promotion.action != "reject")
    )
    held = {row.to_version.version: row.to_version for row in rows}
    if to_version not in held:
        known = ", ".join(str(version) for version in sorted(held) if version != standing.to_version.version) or "none"
        raise PromotionRefused(
            f"{model}:{to_version} never was {name}, so a rollback cannot go to it (earlier ones: {known}); promote "
            f"it: stemma promote {model}:{to_version} --to {standing.alias} --reason TEXT"
        )
    return held[to_version]
