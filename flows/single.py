"""One stage alone, without a flow."""

from __future__ import annotations

import contextlib
from collections.abc import Callable

from components.contract import InputProblem
from flows import dvc, graph, parameters, parent_model, raw_data, spools
from flows.board import Board
from flows.preparation import new_run_name
from flows.progress import EventTail
from flows.signals import signals_as_exceptions
from flows.stage_process import StageProcess
from registry.in_use import running
from registry.sync import sync
from registry.workspace import Workspace


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
    if note := spools.tell_pending(workspace):
        say(note)
    sync(workspace, run=board.run, stages=stages)
    return board
