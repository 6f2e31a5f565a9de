"""The end of a run: every model with rules in ``params.yaml``'s ``promotion`` section is put before the gate."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Collection

from sqlalchemy import select

from core.workspace import Workspace
from flows.pipeline.graph import Graph
from flows.pipeline.measure import measuring
from registry.db.database import Registry
from registry.db.references import current_aliases
from registry.db.schema import Artifact, ModelVersion, Promotion, RegisteredModel
from registry.errors import PromotionConflict
from registry.lineage import receipts
from registry.promotion.parameters import PromotionParameters
from registry.promotion.promote import Measure, PromotionOutcome, assess, default_actor, promote

ALIAS = "champion"
TRIES = 5


def promote_candidates(
    workspace: Workspace,
    registry: Registry,
    graph: Graph,
    done: Collection[str],
    run: str,
    say: Callable[[str], None],
    *,
    approval: bool = False,
) -> list[PromotionOutcome]:
    """Ask the gate about each model that the workspace now holds, has rules for, and never asked about.

    A version that was judged once is not judged again by a run: going back to an older version is a person's decision
    (``stemma promote``). Nor is a model whose stage, or a stage that measures it, was left out of the run.

    Args:
        done: stages that are up to date by this run.
        say: told what is measured anew for a comparison.
        approval: what passes waits for a person's approval instead of being promoted.
    """
    rules = PromotionParameters.load(workspace.root).rules
    outcomes = []
    for record in receipts.read(workspace.root).stages:
        for output in record.outputs:
            ready = record.stage in graph.parents and graph.descendants([record.stage]) <= set(done)
            if output.registered_model in rules and ready:
                reference = _unjudged(registry, output.registered_model, output.digest)
                if reference is not None:
                    reason = f"made and measured by {run}; left to the gate of params.yaml"
                    measure = measuring(workspace, say)
                    outcome = assess(workspace, reference, ALIAS, measure=measure) if approval else None
                    if outcome is None or outcome.action != "await":
                        outcome = _promote(workspace, reference, reason, measure)
                    outcomes.append(outcome)
    return outcomes


def _promote(workspace: Workspace, reference: str, reason: str, measure: Measure) -> PromotionOutcome:
    """Judged again, against the new holder, when another run moved the alias meanwhile."""
    for _ in range(TRIES - 1):
        with contextlib.suppress(PromotionConflict):
            return promote(workspace, reference, ALIAS, reason, default_actor(workspace), measure=measure)
    return promote(workspace, reference, ALIAS, reason, default_actor(workspace), measure=measure)


def standing(registry: Registry) -> dict[str, str]:
    """Every alias and the version that holds it: ``assistant@champion`` to ``assistant:1``."""
    with registry.read() as session:
        return {f"{row.model.name}@{row.alias}": str(row.to_version) for row in current_aliases(session)}


def sentence(outcome: PromotionOutcome) -> str:
    """An outcome in one line, with what did not pass."""
    version, alias = f"{outcome.model}:{outcome.version}", f"{outcome.model}@{outcome.alias}"
    if outcome.action == "unchanged":
        return f"{version} is {alias} already"
    if outcome.action == "await":
        return f"{version} passed the gate and awaits approval to become {alias}"
    failed = [f"{check.name}: {check.detail}" for check in outcome.verdict.checks if not check.passed]
    if not outcome.accepted:
        return f"{version} does not become {alias}: {'; '.join(failed)}"
    if outcome.action == "rollback":
        return f"{version} is {alias} again (before: {outcome.model}:{outcome.previous})"
    before = f" (before: {outcome.model}:{outcome.previous})" if outcome.previous else ""
    forced = f" by force, against the gate: {'; '.join(failed)}" if outcome.forced else ""
    return f"{version} is now {alias}{before}{forced}"


def _unjudged(registry: Registry, model: str, digest: str) -> str | None:
    with registry.read() as session:
        version = session.scalars(
            select(ModelVersion)
            .join(RegisteredModel, RegisteredModel.id == ModelVersion.model_id)
            .join(Artifact, Artifact.id == ModelVersion.artifact_id)
            .where(RegisteredModel.name == model, Artifact.digest == digest)
        ).first()
        if version is None:
            return None
        judged = select(Promotion).filter_by(to_version_id=version.id, alias=ALIAS)
        return None if session.scalars(judged).first() else str(version)
