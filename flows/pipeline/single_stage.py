"""One stage alone, without a flow."""

from __future__ import annotations

import contextlib
from collections.abc import Callable

from core import dvc
from core.errors import InputProblem
from core.processes import signals_as_exceptions
from core.workspace import Workspace
from flows.pipeline import graph, parameters, parent_model, raw_data, spools
from flows.pipeline.prepare import new_run_name
from flows.pipeline.progress import EventTail
from flows.pipeline.run_state import Board
from flows.pipeline.stage_process import StageProcess
from registry.lineage.sync import sync
from registry.store.run_locks import running


def run_stages(
    name: str,
    *,
    force: bool,
    say: Callable[[str], None],
    show: Callable[[Board], contextlib.AbstractContextManager],
) -> Board:
    """Bring the stage ``name`` (all instances of a ``foreach`` stage) up to date, then sync the registry.

    Raises:
        InputProblem, StageFailed, StageStopped, DvcError, RegistryError: see there.
    """
    workspace = Workspace.find()
    values = parameters.load(workspace.root)
    problems = parameters.problems_in(values)
    stages: list[str] = []
    try:
        stages = graph.read(workspace.root).resolve(name, "stage")
    except InputProblem as problem:
        problems += problem.problems
    problems += raw_data.problems(workspace.root, stages, values)
    if problems:
        raise InputProblem(problems)
    changed = dvc.status(workspace.root)
    if parent_model.STAGE in stages:
        parent_model.bring(workspace, changed, values, say)
    if told := raw_data.ensure(workspace.root, changed):
        say(told)
    board = Board(new_run_name(), stages)
    with signals_as_exceptions(), running(workspace.home), show(board):
        for stage in stages:
            process = StageProcess(workspace.root, workspace.home, board.run, stage, force=force)
            tail = EventTail(process.events_pointer)
            board.lines[stage].progress = tail.progress
            board.start(stage)
            try:
                board.finish(stage, process.reproduce(tail.poll))
            except BaseException:
                board.finish(stage, "failed")
                raise
    if note := spools.send_pending(workspace):
        say(note)
    sync(workspace, run=board.run, stages=stages)
    return board
