"""The same work on a Ray cluster: a task a piece, in order, a bounded number under way.

Plain tasks rather than Ray Data: they keep the order, and each ends well or is done again by itself. Ray runs a task
again elsewhere when its worker or node ends; a result is small, so this process holds it and it dies with no node.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
from typing import Any, TypeVar

from components.engine.connection import connected
from components.engine.parameters import EngineParameters
from core.errors import InputProblem

Task = TypeVar("Task")
Result = TypeVar("Result")
RETRIES = 5  # of a task whose worker or node ended
AHEAD = 2  # tasks a processor that are under way or wait for one


def run(function: Callable[[Task], Result], tasks: Iterable[Task], engine: EngineParameters) -> Generator[Result]:
    """``function`` of every task on the cluster, in the order of the tasks.

    The project's own code is sent along; libraries, and the files that tasks name, must be on every node.

    Raises:
        InputProblem: Ray is not installed, or no cluster answers.
    """
    ray = connected(engine.address, "engine")
    try:
        yield from spread(ray, function, tasks, {"num_cpus": 1}, None if engine.workers == "auto" else engine.workers)
    finally:
        ray.shutdown()


def spread(
    ray: Any,
    function: Callable[[Task], Result],
    tasks: Iterable[Task],
    options: Mapping[str, Any],
    most: int | None = None,
) -> Generator[Result]:
    """``function`` of every task, in their order, on the cluster that ``ray`` is connected to.

    Args:
        options: of Ray's, what each task is given.
        most: tasks at the same time; ``None``: as many as there are processors for, and as many again that wait.

    Raises:
        InputProblem: a task raised it.
    """
    remote = _remote(ray, options)
    called = ray.put(function)
    source, under_way = iter(tasks), deque[Any]()
    while True:
        bound = most or _bound(ray, options)
        while len(under_way) < bound:
            try:
                under_way.append(remote.remote(called, next(source)))
            except StopIteration:
                break
        if not under_way:
            return
        yield _result(ray, under_way.popleft())


def shared(
    ray: Any,
    function: Callable[[Task], Result],
    tasks: Sequence[Task],
    options: Mapping[str, Any],
    own: Callable[[Task], Result],
) -> Generator[tuple[int, Result]]:
    """The place of every task and what it comes to, as they are done: ``function`` of it on the cluster, or ``own`` of
    it in this process, which gives the same.

    This process takes the first task that nobody has. Once all are under way it takes the last of these: so it never
    waits for a node that has no room, is slow or is lost.

    Raises:
        InputProblem: a task raised it.
    """
    remote = _remote(ray, options)
    called = ray.put(function)
    left, waiting = set(range(len(tasks))), deque(range(len(tasks)))
    under_way: dict[Any, int] = {}
    try:
        while left:
            ready = ray.wait(list(under_way), num_returns=len(under_way), timeout=0)[0] if under_way else []
            for reference in ready:
                place = under_way.pop(reference)
                try:
                    result = _result(ray, reference)
                except ray.exceptions.RayTaskError:
                    raise
                except ray.exceptions.RayError:  # its worker or node was lost more often than Ray retries
                    waiting.appendleft(place)
                    continue
                left.discard(place)
                yield place, result
            while waiting and len(under_way) < _bound(ray, options):
                place = waiting.popleft()
                under_way[remote.remote(called, tasks[place])] = place
            if not left:
                return
            place = waiting.popleft() if waiting else max(under_way.values())
            result = own(tasks[place])
            for reference in [each for each, other in under_way.items() if other == place]:
                del under_way[reference]
                ray.cancel(reference)
            left.discard(place)
            yield place, result
    finally:
        for reference in under_way:
            ray.cancel(reference)


def _remote(ray: Any, options: Mapping[str, Any]) -> Any:
    return ray.remote(**options, max_retries=RETRIES, scheduling_strategy="SPREAD")(_call)


def _bound(ray: Any, options: Mapping[str, Any]) -> int:
    """Tasks that are under way at the same time: as many as there are processors for, and as many again that wait."""
    return AHEAD * max(1, int(_processors(ray) / options["num_cpus"]))


def _call(function: Callable[[Any], Any], task: Any) -> Any:
    return function(task)


def _result(ray: Any, reference: Any) -> Any:
    try:
        return ray.get(reference)
    except ray.exceptions.RayTaskError as error:
        cause = error.cause
        if isinstance(cause, InputProblem):
            raise InputProblem(cause.problems) from error
        raise


def _processors(ray: Any) -> float:
    """Those of the nodes that are there now: nodes may come and go."""
    return float(ray.cluster_resources().get("CPU", 1))
