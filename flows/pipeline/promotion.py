"""The end of a run: every model with rules in ``params.yaml``'s ``promotion`` section is put before the gate."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable, Collection
from dataclasses import dataclass, field

from sqlalchemy import select

import components
from core import files, layout
from core.workspace import Workspace
from flows.pipeline.graph import Graph
from flows.pipeline.measure import measuring
from flows.pipeline.overlap import comparing
from flows.pipeline.pairing import pairing
from registry.db.database import Registry
from registry.db.references import current_aliases
from registry.db.schema import Artifact, ModelVersion, Promotion, RegisteredModel
from registry.errors import PromotionConflict
from registry.lineage import receipts
from registry.promotion.parameters import PromotionParameters
from registry.promotion.promote import Measure, PromotionOutcome, assess, default_actor, promote

ALIAS = "champion"
TRIES = 5


@dataclass
class Decisions:
    """What a run decided over the models that the workspace now holds.

    Attributes:
        outcomes: one for each version that was put before the gate.
        not_judged: why a version that was to be put before the gate was not, by version.
    """

    outcomes: list[PromotionOutcome] = field(default_factory=list)
    not_judged: dict[str, str] = field(default_factory=dict)


def promote_candidates(
    workspace: Workspace,
    registry: Registry,
    graph: Graph,
    done: Collection[str],
    run: str,
    say: Callable[[str], None],
    *,
    approval: bool = False,
    skipped: Collection[str] = (),
) -> Decisions:
    """Put each model that the workspace now holds, has rules for, and was never judged by them before the gate.

    A version that the gate has only ever refused is judged again where the model's rules have changed since. Any other
    one is not judged again by a run: going back to an older version is a person's decision (``stemma promote``). Nor is
    a model whose stage, or a stage that measures it, was left out of the run.

    Args:
        done: stages that are up to date by this run.
        say: called with a line for each measurement that a comparison needs.
        skipped: stages that the run was asked to leave out, with what needs them; a candidate is judged without the
            models that they would have made of it.
        approval: what passes waits for a person's approval instead of being promoted.
    """
    parameters = PromotionParameters.load(workspace.root)
    decisions = Decisions()
    for record in receipts.read(workspace.root).stages:
        for output in record.outputs:
            model = output.registered_model
            reference = _to_be_judged(workspace, registry, parameters, model, output.digest) if model else None
            if reference is None or record.stage not in graph.parents:
                continue
            not_missed = {stage for stage in skipped if not _is_missed(graph, record.stage, stage)}
            left_out = graph.descendants([record.stage]) - set(done) - not_missed
            if model not in parameters.rules:
                decisions.not_judged[reference] = f"params.yaml has no rules for {model} in the section promotion"
            elif left_out:
                stages = ", ".join(stage for stage in graph.order if stage in left_out)
                decisions.not_judged[reference] = f"the run left out stages that measure it or are made of it: {stages}"
            else:
                reason = f"made and measured by {run}; left to the gate of params.yaml"
                measure, outcome = measuring(workspace, say), None
                if approval:
                    compare, pair = comparing(workspace), pairing(workspace)
                    outcome = assess(workspace, reference, ALIAS, measure=measure, compare=compare, pair=pair)
                if outcome is None or outcome.action != "await":
                    outcome = _promote(workspace, reference, reason, measure)
                decisions.outcomes.append(outcome)
    return decisions


def _is_missed(graph: Graph, maker: str, stage: str) -> bool:
    """Whether a left-out stage would have made the candidate, or measured it: read it without making a model of it."""
    name = stage.partition("@")[0]
    makes_a_model = name in components.STAGES and any(each.type == "model" for each in components.load(name).outputs)
    return stage == maker or (maker in graph.parents[stage] and not makes_a_model)


def _promote(workspace: Workspace, reference: str, reason: str, measure: Measure) -> PromotionOutcome:
    """Judged again, against the new holder, when another run moved the alias meanwhile."""
    decide = functools.partial(
        promote, workspace, reference, ALIAS, reason, default_actor(workspace), measure=measure,
        compare=comparing(workspace), pair=pairing(workspace),
    )  # fmt: skip
    for _ in range(TRIES - 1):
        with contextlib.suppress(PromotionConflict):
            return decide()
    return decide()


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


def _to_be_judged(
    workspace: Workspace, registry: Registry, parameters: PromotionParameters, model: str, digest: str
) -> str | None:
    """The version of these bytes, where nothing was decided about it yet, or the gate refused it by other rules."""
    with registry.read() as session:
        version = session.scalars(
            select(ModelVersion)
            .join(RegisteredModel, RegisteredModel.id == ModelVersion.model_id)
            .join(Artifact, Artifact.id == ModelVersion.artifact_id)
            .where(RegisteredModel.name == model, Artifact.digest == digest)
        ).first()
        if version is None:
            return None
        of_version = select(Promotion).filter_by(to_version_id=version.id, alias=ALIAS).order_by(Promotion.id)
        decisions = session.scalars(of_version).all()
        if any(each.action != "reject" for each in decisions):
            return None
        if decisions:
            verdict = {}
            with contextlib.suppress(ValueError):  # a damaged file, which the audit names
                verdict = files.read_json(layout.verdicts(workspace.home) / f"{decisions[-1].gate.digest}.json", {})
            if verdict.get("rules") == parameters.shown(model):
                return None
        return str(version)
