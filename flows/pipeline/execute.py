"""One run of the graph: its stages, independent ones side by side, and what follows them.

`stemma run` and the deployments call :func:`execute`. Where the work is done, and who sees it, is the observer's: the
one here works in threads and shows nothing; :class:`flows.task_runs.TaskRuns` makes a Prefect task run of each stage.
"""

from __future__ import annotations

import contextlib
import os
import queue
from collections.abc import Callable, Collection, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor, wait
from functools import partial
from typing import Any, Protocol

from core import layout
from core.errors import InputProblem
from core.numbers import duration
from core.prefork import Prefork
from core.processes import signals_as_exceptions
from core.workspace import Workspace
from flows.pipeline import damage, finalize, graph, parameters, parent_model, raw_data, report, spools
from flows.pipeline.finalize import Finished
from flows.pipeline.planning import Planner, sentence, training_data
from flows.pipeline.prepare import Prepared, new_run_name, problems_of_stages
from flows.pipeline.progress import EventTail
from flows.pipeline.run_state import RunState
from flows.pipeline.stage_process import Outcome, StageProcess, StageStopped, forking, grace_seconds
from registry.lineage.sync import sync
from registry.promotion.promote import PromotionOutcome
from registry.store.run_locks import running

# Independent stages side by side; each brings its own threads, so more does not help on few cores.
PARALLEL_STAGES = max(1, int(os.environ.get("STEMMA_PARALLEL_STAGES", "2")))
PLAN_SECONDS = 8.0  # how long a training stage waits for its plan


class StageObserver:
    """Sees one stage while it is brought up to date, in the thread that does it. This one sees nothing."""

    def environment(self) -> Mapping[str, str]:
        """What the stage's process is given besides."""
        return {}

    def device(self, stopping: Callable[[], bool], waiting: Callable[[], None]) -> contextlib.AbstractContextManager:
        """Held while the stage trains; ``waiting`` is called where another run's training has to end first."""
        return contextlib.nullcontext()

    def progressed(self, tail: EventTail) -> None:
        """The stage went on."""

    def ended(self, outcome: Outcome) -> None:
        """The stage is up to date."""

    def say(self, message: str, *, error: bool = False) -> None:
        """Something for the log."""


class StageRun:
    """A stage of a run, to be brought up to date wherever the observer has that done."""

    def __init__(self, prepared: Prepared, name: str, planner: Planner, prefork: Prefork | None):
        self.prepared, self.name, self._planner = prepared, name, planner
        data = training_data(name)
        self._trains = data is not None
        # A pipeline of one's own may keep its data elsewhere; finding out that nothing can be planned would take
        # seconds.
        self._planned = data is not None and not prepared.trial and (prepared.root / data).is_dir()
        self._process = StageProcess(prepared.root, prepared.home, prepared.run, name, prefork=prefork)

    def stop(self) -> None:
        """Have the stage save its checkpoint and end."""
        self._process.stop()

    def bring_up_to_date(self, observer: StageObserver) -> Outcome:
        """What DVC did: nothing (``cached``), a check-out from its run cache (``restored``), or ``ran`` the stage.

        Raises:
            InputProblem, StageFailed, StageStopped: see :meth:`StageProcess.reproduce`.
        """
        run_state = self.prepared.run_state
        self._process.environment.update(observer.environment())
        run_state.start(self.name)

        def waiting() -> None:
            run_state.lines[self.name].progress.description = "waits: another run trains on this device"
            observer.say(f"{self.name} waits: another run holds the concurrency limit `train`")

        stopping = lambda: self._process.stopping  # noqa: E731
        try:
            with observer.device(stopping, waiting) if self._trains else contextlib.nullcontext():
                outcome, warnings = self._work(observer)
        except BaseException as error:
            run_state.finish(self.name, "stopped" if isinstance(error, StageStopped) else "failed")
            observer.say(f"{self.name}: {error}", error=True)
            raise
        for warning in warnings:
            run_state.note(f"{self.name}: {warning}")
        reason = run_state.lines[self.name].skipped = report.skipped(self.prepared.root, self.name)
        run_state.finish(self.name, outcome)
        took = duration(run_state.lines[self.name].seconds)
        observer.say(f"{self.name}: skipped: {reason}" if reason else f"{self.name}: {outcome} in {took}")
        return outcome

    def _work(self, observer: StageObserver) -> tuple[Outcome, list[str]]:
        """(what DVC did, what the stage warned of), with the plan and the progress shown meanwhile."""
        root, line = self.prepared.root, self.prepared.run_state.lines[self.name]
        tail = EventTail(self._process.events_pointer)
        line.progress = tail.progress
        # The plan is there before the training begins; one that takes longer follows while the stage starts.
        plan = self._planner.plan(self.name, PLAN_SECONDS, lambda: self._process.stopping) if self._planned else None

        def poll() -> None:
            if tail.poll():
                observer.progressed(tail)
            # Shown of a stage that DVC really runs, and of no other.
            if plan is not None and not line.plan and tail.started and (made := plan.ready()) is not None:
                line.planned_seconds, line.plan = made["time"]["seconds"], sentence(made)
                observer.say(f"{self.name} plan: {line.plan}")

        outcome = self._process.reproduce(poll)
        if outcome == "restored" and (found := damage.find(root, damage.outputs_of(root, self.name))):
            names = ", ".join(each.name for each in found)
            self.prepared.run_state.note(f"{self.name}: {names} was damaged in DVC's cache; the stage ran again")
            damage.take_away(root, found)
            outcome = self._process.reproduce(poll)
        observer.ended(outcome)
        return outcome, tail.progress.warnings


class Handle(Protocol):
    """Work that goes on beside the caller."""

    def add_done_callback(self, fn: Callable[[Any], object], /) -> object: ...


class Observer:
    """Has a run's work done, and sees it. This one works in threads and shows nothing."""

    def __init__(self) -> None:
        self._pool = ThreadPoolExecutor(PARALLEL_STAGES)
        self._work: dict[str, Future[Outcome]] = {}

    def begin(self, stage: StageRun, after: Collection[str]) -> Handle:
        """Begin a stage; those of the names ``after`` are up to date."""
        self._work[stage.name] = self._pool.submit(stage.bring_up_to_date, StageObserver())
        return self._work[stage.name]

    def error_of(self, stage: str) -> BaseException | None:
        """What a stage that has ended ended by; ``None`` where it is up to date."""
        return self._work[stage].exception()

    def cached(self, stage: str, after: Collection[str]) -> None:
        """Of this stage DVC says that nothing changed."""

    def wait(self, stages: Collection[str], seconds: float | None = None) -> None:
        """Until the work of these stages has ended, or for so many seconds."""
        wait([self._work[stage] for stage in stages if stage in self._work], seconds)

    def finish(self, work: Callable[[], Finished]) -> Finished:
        """Have done what follows the stages."""
        return work()

    def approval_page(self, outcome: PromotionOutcome, reason: str) -> str | None:
        """The page where a person can approve a candidate; ``None`` where only the command can."""
        return None


def execute(prepared: Prepared, observer: Observer | None = None) -> Finished:
    """Bring the run's stages up to date, record and snapshot what was made, and put new models before the gate.

    The run's own tree is removed at the end. That of a run that failed is kept, and a note of the exception says where.

    Raises:
        InputProblem, StageFailed, StageStopped: of the first stage that failed.
        RegistryError: the registry's database cannot be used.
    """
    observer = observer or Observer()
    try:
        with running(prepared.home):
            _bring_up_to_date(prepared, observer)
            finished = observer.finish(lambda: finalize.finish(prepared, observer.approval_page))
    except BaseException as error:
        finalize.keep(prepared)
        if prepared.worktree is not None:
            if not isinstance(error, Exception) or isinstance(error, StageStopped):
                prepared.worktree.remove()  # checkpoints lie elsewhere: a retry makes its tree anew
                raise
            folder = prepared.worktree.folder
            error.add_note(f"The run's own tree is kept for a look; `git worktree remove --force {folder}` removes it")
        raise
    if prepared.worktree is not None:
        prepared.worktree.remove()
    return finished


def _bring_up_to_date(prepared: Prepared, observer: Observer) -> None:
    """Every wanted stage, upstream first; the one with the longest way behind it is started first.

    Raises:
        Exception: that of the first stage that failed; stages that run beside it are finished, none is started.
    """
    run_state, wanted, waiting = prepared.run_state, set(prepared.stages), list(prepared.stages)
    at_work: dict[str, StageRun] = {}
    settled: set[str] = set()
    ended: queue.SimpleQueue[str] = queue.SimpleQueue()
    error: BaseException | None = None
    planner: Planner | None = None
    prefork: Prefork | None = None
    opened = contextlib.ExitStack()
    try:
        while waiting or at_work:
            for name in list(waiting):
                parents = prepared.graph.parents[name] & wanted
                if error is not None or not parents <= settled:
                    continue
                above_is_cached = all(run_state.lines[parent].state == "cached" for parent in parents)
                if name not in prepared.changed and above_is_cached:
                    run_state.finish(name, "cached")  # DVC said so, and nothing above it has changed since
                    settled.add(name)
                    waiting.remove(name)
                    observer.cached(name, parents)
                elif len(at_work) < PARALLEL_STAGES:
                    waiting.remove(name)
                    if planner is None:
                        prefork = opened.enter_context(forking(prepared.root, _about_to_run(prepared)))
                        planner = Planner(prepared.root, layout.run(prepared.home, prepared.run) / "plans", prefork)
                        opened.callback(planner.close)
                    at_work[name] = StageRun(prepared, name, planner, prefork)
                    work = observer.begin(at_work[name], parents)
                    work.add_done_callback(partial(_put, ended, name))
            if not at_work:
                if error is not None:
                    break
                continue
            name = ended.get()
            del at_work[name]
            if failure := observer.error_of(name):
                error = error or failure
            else:
                settled.add(name)
    except BaseException:
        for stage in at_work.values():
            stage.stop()
        with contextlib.suppress(Exception):
            observer.wait(at_work, grace_seconds())
        raise
    finally:
        opened.close()
        for name in waiting:
            run_state.finish(name, "not reached")
    if error is not None:
        raise error
    observer.wait(prepared.stages)  # those that are only shown read the run's tree too


def _about_to_run(prepared: Prepared) -> list[str]:
    """The stages that will run, if nothing turns out to be as it was; upstream first."""
    found: dict[str, None] = {}
    for name in prepared.stages:
        if name in prepared.changed or not prepared.graph.parents[name].isdisjoint(found):
            found[name] = None
    return list(found)


def _put(ended: queue.SimpleQueue[str], name: str, _: object) -> None:
    ended.put(name)


@contextlib.contextmanager
def shown(run_state: RunState, process: StageProcess) -> Iterator[EventTail]:
    """Begin a stage's line in the run's state; the block brings the stage up to date and finishes the line."""
    tail = EventTail(process.events_pointer)
    run_state.lines[process.stage].progress = tail.progress
    run_state.start(process.stage)
    try:
        yield tail
    except BaseException as error:
        stopped = isinstance(error, StageStopped) or not isinstance(error, Exception)
        run_state.finish(process.stage, "stopped" if stopped else "failed")
        raise


def execute_alone(
    name: str,
    *,
    force: bool,
    say: Callable[[str], None],
    show: Callable[[RunState], contextlib.AbstractContextManager],
) -> RunState:
    """Bring the stage ``name`` (all instances of a ``foreach`` stage) up to date, nothing above it; sync the registry.

    Raises:
        InputProblem, StageFailed, StageStopped, DvcError, RegistryError: see there.
    """
    workspace = Workspace.find()
    values = parameters.load(workspace.root)
    problems = parameters.problems_in(values)
    stages: list[str] = []
    changed: dict[str, list[Any]] = {}
    try:
        stages_graph, changed = graph.read_with_status(workspace.root)
        stages = stages_graph.resolve(name, "stage")
    except InputProblem as problem:
        problems += problem.problems
    problems += problems_of_stages(workspace.root, stages, values)
    if problems:
        raise InputProblem(problems)
    if not parent_model.READERS.isdisjoint(stages):
        parent_model.bring(workspace, changed, values, say)
    if done := raw_data.ensure(workspace.root, changed):
        say(done)
    run_state = RunState(new_run_name(), stages)
    with (
        signals_as_exceptions(), running(workspace.home), show(run_state), forking(workspace.root, stages) as prefork
    ):  # fmt: skip
        for stage in stages:
            process = StageProcess(workspace.root, workspace.home, run_state.run, stage, force=force, prefork=prefork)
            with shown(run_state, process) as tail:
                run_state.finish(stage, process.reproduce(tail.poll))
    if note := spools.send_pending(workspace):
        say(note)
    sync(workspace, run=run_state.run, stages=stages)
    return run_state
