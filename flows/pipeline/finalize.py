"""What follows the stages: the registry records what was made, and what passes its gate is promoted."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from dataclasses import dataclass, field

from components import pages
from core.workspace import Workspace
from flows.deployments import notifications
from flows.pipeline import promotion, report, spools
from flows.pipeline.prepare import Prepared
from flows.pipeline.run_state import DONE
from registry.db.database import open as open_registry
from registry.lineage.sync import SyncReport, sync
from registry.promotion.parameters import PromotionParameters
from registry.promotion.promote import PromotionOutcome


@dataclass
class Finished:
    """What came of a run.

    Attributes:
        sync: what the registry recorded.
        promoted: one line for each alias that moved, such as ``assistant:1 is assistant@champion``.
        champions: aliases as they stand now, such as ``assistant@champion`` to ``assistant:1``.
        refused: candidates that the gate did not let through, and why.
        awaiting: candidates that it let through and a person has yet to approve, and where.
        not_judged: new versions that were not put before the gate, and why.
        outcomes: the same decisions, with the gate's verdicts.
        notes: what else the user should know.
        rows: the run's table, kept here since the tree it was read from may be gone.
        question: one of its data, to try the model with.
    """

    sync: SyncReport
    promoted: list[str] = field(default_factory=list)
    champions: dict[str, str] = field(default_factory=dict)
    refused: list[str] = field(default_factory=list)
    awaiting: list[str] = field(default_factory=list)
    not_judged: list[str] = field(default_factory=list)
    outcomes: list[PromotionOutcome] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    rows: list[report.StageRow] = field(default_factory=list)
    question: str | None = None


def finish(prepared: Prepared, approval_page: Callable[[PromotionOutcome, str], str | None]) -> Finished:
    """Sync the registry with the run's tree (which takes its snapshot), then promote through the gate.

    Args:
        approval_page: the page where a person can approve a candidate that passed, for a reason; ``None`` where there
            is none.

    Raises:
        RegistryError: the registry's database cannot be used.
    """
    workspace = Workspace(prepared.root, prepared.home)
    walked = [stage for stage, line in prepared.run_state.lines.items() if line.state in DONE]
    run = None if prepared.run_state.all_cached else prepared.run
    waiting = spools.send_pending(workspace)  # before the sync, which looks up the MLflow runs that receipts miss
    rows = report.rows(prepared.root, prepared.run_state, workspace.mlflow_uri)
    question = report.example_question(prepared.root)
    finished = Finished(sync(workspace, run=run, stages=walked), rows=rows, question=question)
    finished.notes += pages.refresh(prepared.root, walked)  # a restored report has none, or one of other bytes
    finished.notes += [*finished.sync.problems, *([waiting] if waiting else [])]
    if finished.sync.mirror.error:
        finished.notes.append(
            f"MLflow update incomplete; it will be retried at the next sync: {finished.sync.mirror.error}"
        )
    if prepared.trial:
        return finished
    with open_registry(workspace.registry_url) as registry:
        decisions = promotion.promote_candidates(
            workspace,
            registry,
            prepared.graph,
            walked,
            prepared.run,
            finished.notes.append,
            # Of the user's own file: what a run sets for itself cannot grant it approval.
            skipped=prepared.left_out,
            approval=PromotionParameters.load(prepared.workspace.root).approval == "required",
        )
        finished.not_judged = [
            f"{version} was not judged: {why}"
            for version, why in decisions.not_judged.items()
            if version in finished.sync.versions
        ]
        for outcome in decisions.outcomes:
            if outcome.action == "await":
                finished.awaiting.append(_request_approval(prepared, outcome, approval_page, finished.notes))
            else:
                (finished.promoted if outcome.accepted else finished.refused).append(promotion.sentence(outcome))
            finished.outcomes.append(outcome)
        finished.champions = promotion.standing(registry)
    for outcome in finished.outcomes:
        finished.notes += notifications.decided(prepared.workspace, outcome, run=prepared.run)
    return finished


def _request_approval(
    prepared: Prepared,
    outcome: PromotionOutcome,
    approval_page: Callable[[PromotionOutcome, str], str | None],
    notes: list[str],
) -> str:
    """Notify people that a candidate awaits a decision; how to decide, in a sentence."""
    version, reason = f"{outcome.model}:{outcome.version}", f"made and measured by {prepared.run}"
    page = approval_page(outcome, reason)
    notice = notifications.Notice(
        event="approval",
        text=promotion.sentence(outcome),
        model=outcome.model,
        version=outcome.version,
        alias=outcome.alias,
        previous=outcome.previous,
        verdict=outcome.verdict.as_dict() if outcome.verdict else None,
        reason=reason,
        run=prepared.run,
        links={**notifications.links(prepared.workspace, version), **({"approve": page} if page else {})},
    )
    notes += notifications.notify(prepared.workspace, notice)
    command = f'stemma promote {version} --to {outcome.alias} --reason "{reason}"'
    return f"{promotion.sentence(outcome)}: {page or command}"


def keep(prepared: Prepared) -> None:
    """Record what a run that failed has finished, with the run's exact tree; a later sync updates MLflow.

    Left to the next run, it would be filed with a tree that was edited meanwhile.
    """
    done = [stage for stage, line in prepared.run_state.lines.items() if line.state in DONE]
    if any(prepared.run_state.lines[stage].state == "ran" for stage in done):
        with contextlib.suppress(Exception):  # the run's own error is the one to report
            sync(Workspace(prepared.root, prepared.home), run=prepared.run, stages=done, update_mlflow=False)
