"""Running a sweep: one tree for all trials, what they have in common once, then the trials side by side.

A killed sweep goes on when it is asked for again: trials that ended are kept, half-done ones are run again and go on
from their checkpoints, and all are run from the tree that the first one was run from.
"""

from __future__ import annotations

import contextlib
import contextvars
import time
from collections.abc import Callable, Hashable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import replace
from typing import Any

from optuna.trial import FrozenTrial, Trial, TrialState

from core import layout, locks
from core.errors import InputProblem, StemmaError
from core.git import git
from core.numbers import duration, measured
from core.workspace import Workspace
from flows.pipeline import graph, raw_data
from flows.pipeline.execute import execute
from flows.pipeline.prepare import Request, prepare
from flows.pipeline.run_state import RunState
from flows.pipeline.stage_process import StageStopped, grace_seconds
from flows.pipeline.worktree import Worktree
from flows.sweeps import tracking
from flows.sweeps.definition import Sweep, SweepFailed
from flows.sweeps.study import ENDED, Study, error_of
from flows.sweeps.trial import Device, OnDevice, Pruned, SameWork, TrialRun, forget_tree
from registry.db.database import open as open_registry
from registry.store import pins
from registry.store.run_locks import InUse
from registry.store.snapshot import snapshot

Value = tuple[float, float | None]
#: Makes of a trial's work, and its name, work that is shown somewhere.
Shown = Callable[[str, Callable[[], Value]], Callable[[], Value]]
#: After so many failures and no success the sweep ends: the others would fail as well.
MOST_FAILURES = 3
_ACTOR = "stemma sweep"  # by which the snapshot of an unfinished sweep is pinned


def run(
    workspace: Workspace,
    sweep: Sweep,
    parallel: int,
    say: Callable[[str], None],
    *,
    ready: Callable[[Workspace], None] = lambda tree: None,
    shown: Shown = lambda name, work: work,
    device: Device = lambda stopping, waiting: contextlib.nullcontext(),
) -> Study:
    """Run the trials of a sweep that have no value yet.

    Args:
        parallel: trials at once.
        say: called with a line for whatever happens.
        ready: called with the tree of the trials before the first one, when what they have in common is up to date.
        shown: see :data:`Shown`; called in the thread of each trial.
        device: held while a stage trains.

    Raises:
        InUse: another process runs this sweep.
        InputProblem: a sweep of this name is another one, or the tree of its trials was removed.
        SweepFailed: no trial gave a value.
        StageStopped: it was stopped; the same command goes on.
        StageFailed, DvcError, RegistryError, WorktreeFailed: of the stages that all trials share.
    """
    lock = layout.sweep(workspace.home, sweep.name).with_suffix(".lock")
    with locks.holding(lock, wait=False) as held:
        if held is None:
            raise InUse(
                f"another process runs the sweep {sweep.name}; wait for its end (stemma sweep show {sweep.name})"
            )
        study = Study.begin(workspace.home, sweep)
        trials = study.todo()
        first = next(trials, None)
        if first is None:
            say(f"{sweep.name}: all {sweep.trials} trials have ended already")
            if not layout.sweep(workspace.home, sweep.name).exists():  # killed before the figures were drawn
                tracking.Mirror(workspace, study, say).close()
        else:
            if ended := [trial for trial in study.trials if trial.state in ENDED]:
                say(f"{sweep.name}: goes on; {len(ended)} of {sweep.trials} trials have ended already")
            with _tree(workspace, study, say, device) as tree:
                ready(tree)
                _Trials(workspace, tree, study, say, shown, device).run(_chain(first, trials), parallel)
        if not summary(study)["left"]:
            with open_registry(workspace.registry_url) as registry:
                pins.release(registry, sweep.name, _ACTOR)
    if not any(trial.state == TrialState.COMPLETE for trial in study.trials):
        raise SweepFailed(f"{sweep.name}: no trial gave a value; the last error: {_last_error(study)}")
    return study


@contextlib.contextmanager
def _tree(workspace: Workspace, study: Study, say: Callable[[str], None], device: Device) -> Iterator[Workspace]:
    """The tree that all trials are run from, in which what they have in common is up to date."""
    sweep = study.sweep
    forget_tree(workspace, sweep.name)
    if study.commit is not None:
        if not git(workspace.root, "rev-parse", "--verify", "--quiet", f"{study.commit}^{{commit}}", check=False):
            raise InputProblem(
                f"--name {sweep.name}: the tree that its trials are run from ({study.commit[:12]}) was removed since; "
                "choose another name to begin anew from your files"
            )
        worktree = Worktree.create(workspace.root, workspace.home, sweep.name, study.commit, raw_is_versioned=True)
    else:
        prepared = prepare(
            workspace, Request(sweep.fixed, sweep.until, isolated=True, run=sweep.name), lambda message: None
        )
        assert prepared.worktree is not None
        worktree = prepared.worktree
    try:
        place = Workspace(worktree.root, workspace.home)
        if study.commit is None:
            shared = [stage for stage in prepared.stages if stage in sweep.shared]
            alone = replace(
                prepared, stages=shared, run_state=RunState(sweep.name, shared), worktree=None, trial=True
            )  # fmt: skip
            if not alone.up_to_date:
                say(f"{sweep.name}: {', '.join(shared)}: the same in all trials, so brought up to date once")
                execute(alone, OnDevice(device, say))
            study.commit = snapshot(place, sweep.name)
        else:
            raw_data.ensure(place.root, {})
        with open_registry(workspace.registry_url) as registry:
            pins.keep(registry, sweep.name, "the sweep's trials, which have not all ended, are run from it", _ACTOR)
        yield place
    finally:
        worktree.remove()


class _Trials:
    """The trials of a sweep at work; lives in one thread, each trial in one of its own."""

    def __init__(
        self,
        workspace: Workspace,
        tree: Workspace,
        study: Study,
        say: Callable[[str], None],
        shown: Shown,
        device: Device,
    ):
        self.tree, self.study, self.sweep = tree, study, study.sweep
        self.say, self.shown, self.device = say, shown, device
        self.mirror = tracking.Mirror(workspace, study, say)
        self.same_work = SameWork()
        self.above = graph.read(tree.root).ancestors
        self.failures = 0
        self._at_work: dict[Future[Value], tuple[Trial, TrialRun, float]] = {}

    def run(self, trials: Iterator[Trial], parallel: int) -> None:
        """Run them all, so many at once."""
        with ThreadPoolExecutor(parallel) as pool:
            try:
                while True:
                    while len(self._at_work) < parallel and (trial := next(trials, None)) is not None:
                        self._begin(trial, pool)
                    if not self._at_work:
                        break
                    for future in wait(self._at_work, return_when=FIRST_COMPLETED).done:
                        self._settle(future)
            except BaseException as error:
                error.add_note(f"The same command goes on with {self.sweep.name}; trials that ended are kept.")
                for _, at_work, _ in self._at_work.values():
                    at_work.stop()
                wait(self._at_work, grace_seconds())
                raise
        self.mirror.close()

    def _begin(self, trial: Trial, pool: ThreadPoolExecutor) -> None:
        values = self.study.values(trial)
        self.mirror.begin(trial)

        def watch(step: int, value: float) -> bool:
            trial.report(value, step)
            return self.sweep.prune and trial.should_prune()

        def identity(stage: str) -> Hashable:
            above = self.above([stage])
            return tuple((path, repr(value)) for path, value in values.items() if above & set(self.sweep.readers[path]))

        work = TrialRun(
            self.tree, self.study.run_name(trial), values, self.sweep.until, self.sweep.metric, watch=watch,
            same_work=self.same_work, identity=identity, device=self.device,
        )  # fmt: skip
        shown = self.shown(f"trial {trial.number}: {self.sweep.label(values)}", work.work)
        # What shows it finds where it is by the context of this thread.
        future: Future[Value] = pool.submit(contextvars.copy_context().run, shown)
        self._at_work[future] = (trial, work, time.monotonic())

    def _settle(self, future: Future[Value]) -> None:
        trial, work, began = self._at_work.pop(future)
        seconds, error = time.monotonic() - began, future.exception()
        name = f"trial {trial.number}: {self.sweep.label(self.study.values(trial))}"
        if error is None:
            value, stderr = future.result()
            self.study.complete(trial, value, stderr, seconds, work.measured)
            self.say(f"{name}: {self.sweep.metric.name} {measured(value, stderr)} in {duration(seconds)}")
        elif isinstance(error, Pruned):
            self.study.pruned(trial, seconds)
            self.say(f"{name}: pruned after {duration(seconds)}: others were better by then")
        elif isinstance(error, StemmaError) and not isinstance(error, StageStopped):
            self.failures += 1
            self.study.failed(trial, str(error), seconds)
            self.say(f"{name}: failed: {error}")
            for note in getattr(error, "__notes__", []):
                self.say(note)
        else:
            raise error
        self.mirror.end(trial)
        if self.failures >= MOST_FAILURES and not any(
            each.state == TrialState.COMPLETE for each in self.study.trials
        ):  # fmt: skip
            raise SweepFailed(
                f"{self.sweep.name}: {self.failures} trials failed and none gave a value, so no more are run; the last "
                f"error: {_last_error(self.study)}"
            )


def _last_error(study: Study) -> str:
    errors = [error_of(trial) for trial in study.trials]
    return next((error for error in reversed(errors) if error), "none")


def _chain(first: Trial, rest: Iterator[Trial]) -> Iterator[Trial]:
    yield first
    yield from rest


def summary(study: Study) -> dict[str, Any]:
    """How many trials are in which state, in words."""
    words = {TrialState.COMPLETE: "complete", TrialState.PRUNED: "pruned", TrialState.FAIL: "failed"}
    counts = {word: sum(trial.state == state for trial in study.trials) for state, word in words.items()}
    ended = sum(counts[word] for word in ("complete", "pruned"))
    return {**counts, "left": max(0, study.sweep.trials - ended)}


def state_of(trial: FrozenTrial, *, at_work: bool) -> str:
    """A trial's state in a word."""
    if trial.state == TrialState.RUNNING:
        return "running" if at_work else "interrupted"
    return {TrialState.COMPLETE: "complete", TrialState.PRUNED: "pruned", TrialState.FAIL: "failed"}[trial.state]


def at_work(workspace: Workspace, name: str) -> bool:
    """True while a process runs the sweep."""
    return locks.held(layout.sweep(workspace.home, name).with_suffix(".lock"))
