"""Where much of the same work is done: in this process, in a pool of local ones, or on a Ray cluster.

The work is a function of one task that neither knows nor cares where it runs. Results come in the order of the tasks
whatever ends first, and at most a few tasks a worker are under way, so that memory does not grow with their number.
A component's numbers never depend on the engine: its code is no part of what a stage is.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable
from typing import TypeVar

from components.engine import local
from components.engine.parameters import EngineParameters

__all__ = ["EngineParameters", "run"]

Task = TypeVar("Task")
Result = TypeVar("Result")
# Processor seconds of work from which a pool is started: its processes need about one each to start and import.
POOL_FROM = 2.0


def run(
    function: Callable[[Task], Result], tasks: Iterable[Task], engine: EngineParameters, seconds: float
) -> Generator[Result]:
    """``function`` of every task, in their order; what a task raises is raised when its turn comes.

    Closing the iterator ends the workers.

    Args:
        function: importable by its name, or a ``functools.partial`` of one that is, with arguments that can be pickled.
        tasks: taken from one by one, as the work goes on.
        seconds: of one processor for all the work together, about; a pool that would cost more than it saves is not
            started.

    Raises:
        InputProblem: the cluster cannot be used.
        WorkersLost: a task ended its worker again and again.
    """
    if engine.type == "ray":
        from components.engine.cluster import run as run_on_ray

        return run_on_ray(function, tasks, engine)
    workers = local.processors() if engine.workers == "auto" else engine.workers
    if workers == 1 or (engine.workers == "auto" and seconds < POOL_FROM):
        return (function(task) for task in tasks)
    return local.run(function, tasks, workers)
