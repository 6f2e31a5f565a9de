"""The trials of a sweep in Prefect: a task run each, on the device that the flow run holds while one of them trains."""

from __future__ import annotations

from collections.abc import Callable
from logging import Logger, LoggerAdapter

from prefect import task
from prefect.cache_policies import NO_CACHE
from prefect.states import Completed, State

from core.numbers import figure
from core.workspace import Workspace
from flows.deployments.device_slot import DeviceSlot, lease_note
from flows.sweeps import execute
from flows.sweeps.definition import Sweep
from flows.sweeps.execute import Value
from flows.sweeps.plan import plan
from flows.sweeps.study import Study, left
from flows.sweeps.trial import Pruned


def run(place: Workspace, sweep: Sweep, parallel: int, logger: Logger | LoggerAdapter[Logger]) -> Study:
    """Run a sweep, or go on with it; what it will take is logged first.

    Raises:
        StemmaError: as of :func:`flows.sweeps.execute.run`.
    """
    trials = left(place.home, sweep)
    expected = plan(place, sweep, parallel, trials)
    logger.info("%s: %s", sweep.name, expected)

    def ready(tree: Workspace) -> None:
        if expected.seconds is None:
            logger.info("%s: %s", sweep.name, plan(tree, sweep, parallel, trials))

    slot = DeviceSlot(lease_note(place.home, sweep.name))
    return execute.run(place, sweep, parallel, logger.info, ready=ready, shown=as_task_run, device=slot.held)


def as_task_run(name: str, work: Callable[[], Value]) -> Callable[[], Value]:
    """The work of a trial in a task run of its name; a pruned one is shown as what it is."""

    def call() -> Value:
        result: list[Value | Pruned] = []

        def trial() -> State:
            try:
                value = work()
            except Pruned as pruned:
                result.append(pruned)
                return Completed(name="Pruned", message=f"{name}: others were better by then")
            result.append(value)
            return Completed(message=f"{name}: {figure(value[0])}")

        task(name="trial", task_run_name=name, cache_policy=NO_CACHE, persist_result=False)(trial)()
        if isinstance(result[0], Pruned):
            raise result[0]
        return result[0]

    return call
