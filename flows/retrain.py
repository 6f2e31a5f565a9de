"""The flow that retrains: new raw data to a candidate, through the lifecycle and its gate; nothing new ends at once."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass, field, replace
from typing import Any

from prefect import Flow, flow, get_run_logger
from prefect.artifacts import create_markdown_artifact
from prefect.states import Completed, State

from core.workspace import Workspace
from flows.deployments import flow_run
from flows.deployments.notifications import notify_of_failure
from flows.lifecycle import run_as_flow
from flows.pipeline import finalize, raw_data, report
from flows.pipeline.prepare import Prepared, Request, check, new_run_name, prepare
from flows.retraining import candidate, new_data
from flows.retraining.new_data import NewData
from flows.retraining.parameters import RetrainParameters
from flows.retraining.queue import NotNeeded, add_pending, one_at_a_time
from flows.retraining.rules import load
from flows.retraining.sources import ingest
from registry.store import worktrees

RUN_PREFIX = "retrain-"
#: What became of the candidate, by what the gate did with it.
OUTCOMES = {"promote": "Promoted", "await": "Approval requested", "reject": "Rejected"}


@dataclass
class Retraining:
    """What became of it.

    Attributes:
        outcome: the state's name: ``Nothing new``, ``Not needed``, ``Nothing to judge``, or one of ``OUTCOMES``.
        message: the same in a sentence or two.
        run: name of the pipeline run; ``None`` where none was started.
        notes: what else the user should know.
    """

    outcome: str
    message: str
    new_data: dict[str, Any] | None = None
    run: str | None = None
    promoted: list[str] = field(default_factory=list)
    refused: list[str] = field(default_factory=list)
    awaiting: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def retraining(show: Callable[[Prepared], AbstractContextManager] = lambda _: contextlib.nullcontext()) -> Flow:
    """The flow; ``show`` is opened around the stages, to show the run's state while it lasts."""

    @flow(
        name="retrain",
        description="Looks for new raw data; if there is enough, trains a candidate on it and puts it before the gate.",
        on_failure=[notify_of_failure],
        on_crashed=[notify_of_failure],
    )
    def retrain(workspace: str | None = None) -> State:
        """Retrain if there is new data.

        Args:
            workspace: folder of the workspace; the current folder when left out.
        """
        place, logger = flow_run.begin(workspace), get_run_logger()
        try:
            with one_at_a_time(place.home, logger.info):
                done = _retrain(place, logger.info, show)
        except NotNeeded as why:
            done = Retraining("Not needed", str(why))
        logger.info(done.message)
        return Completed(name=done.outcome, message=done.message, data=done)

    return retrain


def _retrain(
    workspace: Workspace,
    say: Callable[[str], None],
    show: Callable[[Prepared], AbstractContextManager],
) -> Retraining:
    values, rules = load(workspace.root)
    found = new_data.find(workspace, values, rules)
    for note in found.notes:
        say(note)
    if not found.enough:
        return Retraining("Nothing new", str(found), found.as_dict(), notes=found.notes)
    say(str(found))
    kept = candidate.held_out(workspace, values, rules, found.champion)
    changes = {**candidate.overrides(rules), **kept.overrides, **rules.parameters}
    run = RUN_PREFIX + new_run_name().removeprefix("run-")
    request = Request(changes, isolated=True, run=run)
    # Before anything is changed; files that are only about to be copied are checked with everything else afterwards.
    coming = kept.overrides if kept.files else {}
    check(workspace, replace(request, overrides={k: v for k, v in changes.items() if k not in coming}))
    _sweep(workspace)
    ingest(workspace, [*found.outside, *kept.files], say)
    prepared = prepare(workspace, request, say)
    flow_run.remember(prepared)
    if rules.start == "finetune":
        candidate.keep_decoder(prepared)
    with show(prepared):
        finished = run_as_flow(prepared, changes, {"isolated": True})
    add_pending(
        workspace.home, [f"{each.model}:{each.version}" for each in finished.outcomes if each.action == "await"]
    )
    done = _judged(rules, found, finished, run)
    done.notes = [*found.notes, *([kept.note] if kept.note else []), *finished.notes]
    create_markdown_artifact(
        _markdown(done, found, prepared, finished), key="retrain-report", description=f"Run {run}: {done.outcome}"
    )
    return done


def _sweep(workspace: Workspace) -> None:
    """Take away the trees that earlier retrainings left when they failed: by cron they would fill the disk.

    What their stages finished is in DVC's cache, and their checkpoints are in the home.
    """
    for left in worktrees.leftovers(workspace.home):
        if left.folder.name.startswith(RUN_PREFIX):
            worktrees.remove(workspace.root, left.folder)


def _judged(rules: RetrainParameters, found: NewData, finished: finalize.Finished, run: str) -> Retraining:
    actions = {outcome.action for outcome in finished.outcomes if outcome.model == rules.model}
    name = next((name for action, name in OUTCOMES.items() if action in actions), "Nothing to judge")
    decisions = [*finished.promoted, *finished.awaiting, *finished.refused]
    return Retraining(
        name,
        "; ".join(decisions) or f"{run} made no version of {rules.model} to be judged",
        found.as_dict(),
        run,
        list(finished.promoted),
        list(finished.refused),
        list(finished.awaiting),
    )


def _markdown(done: Retraining, found: NewData, prepared: Prepared, finished: finalize.Finished) -> str:
    lines = [f"# {done.outcome}", "", done.message, "", "## New data", "", str(found), ""]
    lines += ["| file | from | md5 |", "|---|---|---|"]
    for file in found.new[:50]:
        cells = (f"{raw_data.RAW}/{file.name}", str(file.path), f"`{file.md5}`")
        lines.append("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |")
    lines += [f"\n{len(found.new) - 50} more files"] if len(found.new) > 50 else []
    lines += ["", *(f"- {note}" for note in done.notes), ""]
    return "\n".join(lines) + "\n" + report.markdown(prepared.run_state, finished)


retrain = retraining()
