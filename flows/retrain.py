"""The flow that retrains: new raw data to a candidate, through the lifecycle and its gate; nothing new ends at once."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from contextlib import AbstractContextManager
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any

from prefect import flow, get_run_logger
from prefect.artifacts import create_markdown_artifact
from prefect.states import Completed, State

from core.workspace import Workspace
from flows.deployments import flow_run, form
from flows.deployments.notifications import tell_failure
from flows.lifecycle import finished_run, lifecycle, prepared_run
from flows.pipeline import finalize, raw_data, report
from flows.pipeline.prepare import Prepared, Request, check, new_run_name, prepare
from flows.retraining import held_out, new_data, pending, start
from flows.retraining.ingest import take_in
from flows.retraining.new_data import News
from flows.retraining.parameters import RetrainParameters
from flows.retraining.queue import NotNeeded, turn
from flows.retraining.rules import load
from registry.store import worktrees

RUN_PREFIX = "retrain-"
#: What became of the candidate, by what the gate did with it.
OUTCOMES = {"promote": "Promoted", "await": "Approval asked", "reject": "Rejected"}

#: Opened around the stages, to show the run's board while it lasts; the command sets it.
showing: ContextVar[Callable[[Prepared], AbstractContextManager]] = ContextVar(
    "showing", default=lambda _: contextlib.nullcontext()
)


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


@flow(
    name="retrain",
    description="Looks for new raw data; if there is enough, trains a candidate on it and puts it before the gate.",
    on_failure=[tell_failure],
    on_crashed=[tell_failure],
)
def retrain(workspace: str | None = None) -> State:
    """Retrain if there is new data.

    Args:
        workspace: folder of the workspace; the current folder when left out.
    """
    place, logger = flow_run.begin(workspace), get_run_logger()
    try:
        with turn(place.home, logger.info):
            done = _retrain(place, logger.info)
    except NotNeeded as why:
        done = Retraining("Not needed", str(why))
    logger.info(done.message)
    return Completed(name=done.outcome, message=done.message, data=done)


def _retrain(workspace: Workspace, say: Callable[[str], None]) -> Retraining:
    values, rules = load(workspace.root)
    found = new_data.find(workspace, values, rules)
    for note in found.notes:
        say(note)
    if not found.enough:
        return Retraining("Nothing new", str(found), found.as_dict(), notes=found.notes)
    say(str(found))
    kept = held_out.held_out(workspace, values, rules, found.champion)
    changes = {**start.overrides(rules), **kept.overrides, **rules.parameters}
    run = RUN_PREFIX + new_run_name().removeprefix("run-")
    request = Request(changes, isolated=True, run=run)
    check(workspace, request)  # before anything is changed
    _sweep(workspace)
    take_in(workspace, [*found.outside, *kept.files], say)
    prepared = prepare(workspace, request, say)
    flow_run.remember(prepared)
    if rules.start == "finetune":
        start.keep_decoder(prepared)
    finished = _run(prepared, changes)
    pending.add(
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


def _run(prepared: Prepared, changes: dict[str, Any]) -> finalize.Finished:
    """The lifecycle, as a flow within this one."""
    outcome: list[finalize.Finished] = []
    token, listener = prepared_run.set(prepared), finished_run.set(outcome)
    try:
        with showing.get()(prepared):
            lifecycle(
                parameters=form.nested(changes), isolated=True, run=prepared.run, workspace=str(prepared.workspace.root)
            )
    finally:
        prepared_run.reset(token)
        finished_run.reset(listener)
    return outcome[0]


def _judged(rules: RetrainParameters, found: News, finished: finalize.Finished, run: str) -> Retraining:
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


def _markdown(done: Retraining, found: News, prepared: Prepared, finished: finalize.Finished) -> str:
    lines = [f"# {done.outcome}", "", done.message, "", "## New data", "", str(found), ""]
    lines += ["| file | from | md5 |", "|---|---|---|"]
    for file in found.new[:50]:
        cells = (f"{raw_data.RAW}/{file.name}", str(file.path), f"`{file.md5}`")
        lines.append("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |")
    lines += [f"\n{len(found.new) - 50} more files"] if len(found.new) > 50 else []
    lines += ["", *(f"- {note}" for note in done.notes), ""]
    return "\n".join(lines) + "\n" + report.markdown(prepared.board, finished)
