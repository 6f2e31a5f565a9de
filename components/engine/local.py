"""A pool of processes on this machine: spawned, bounded, ordered, and gone when their parent is."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
from collections import deque
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from itertools import islice
from typing import TypeVar

from core import python
from core.processes import follow_parent

Task = TypeVar("Task")
Result = TypeVar("Result")
AHEAD = 2  # tasks a worker that are under way or wait for their turn
ATTEMPTS = 3  # of one task, before it is taken to be what ends the workers


class WorkersLost(RuntimeError):
    """A worker ended several times on the same task, most likely for want of memory."""


def processors() -> int:
    """Processors that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def run(function: Callable[[Task], Result], tasks: Iterable[Task], workers: int) -> Generator[Result]:
    """``function`` of every task by ``workers`` processes, in the order of the tasks.

    Processes are spawned: a fork would copy locks that other threads hold. One that is killed takes the pool with it
    (``concurrent.futures``); a new pool then does again what was under way.

    Raises:
        WorkersLost: the same task ended the workers :data:`ATTEMPTS` times.
    """
    source, under_way = iter(tasks), deque[tuple[Task, Future[Result]]]()
    pool, lost = _pool(workers), 0
    try:
        while True:
            try:
                while len(under_way) < AHEAD * workers and (taken := list(islice(source, 1))):
                    under_way.append((taken[0], _submitted(pool, function, taken[0])))
                if not under_way:
                    return
                result = under_way[0][1].result()
            except BrokenProcessPool as error:
                lost += 1
                if lost >= ATTEMPTS:
                    raise WorkersLost(
                        f"a worker process ended {lost} times while it worked on {under_way[0][0]!s:.200} or one of "
                        f"the next {len(under_way) - 1} (the system may have run out of memory): set engine.workers "
                        f"to less than {workers}"
                    ) from error
                _end(pool)
                pool = _pool(workers)
                # What had ended well stays; the rest is done again.
                under_way = deque(
                    (task, future if _ended_well(future) else _submitted(pool, function, task))
                    for task, future in under_way
                )
                continue
            under_way.popleft()
            lost = 0
            yield result
    finally:
        _end(pool)


def _submitted(pool: ProcessPoolExecutor, function: Callable[[Task], Result], task: Task) -> Future[Result]:
    """The future of a task; one that holds the error, where the pool broke meanwhile."""
    try:
        return pool.submit(function, task)
    except BrokenProcessPool as error:
        future: Future[Result] = Future()
        future.set_exception(error)
        return future


def _ended_well(future: Future[Result]) -> bool:
    return future.done() and not isinstance(future.exception(), BrokenProcessPool)


def _pool(workers: int) -> ProcessPoolExecutor:
    context = multiprocessing.get_context("spawn")
    return ProcessPoolExecutor(workers, mp_context=context, initializer=_begin, initargs=(os.getpid(),))


def _begin(parent: int) -> None:
    """What a worker does first. Ctrl-C reaches the whole group: the parent alone decides what it means."""
    python.seldom_collect()
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    follow_parent(parent, signal.SIGKILL)


def _end(pool: ProcessPoolExecutor) -> None:
    """End the workers at once: nobody wants what they still do."""
    processes = list((pool._processes or {}).values())
    pool.shutdown(wait=False, cancel_futures=True)
    for process in processes:
        with contextlib.suppress(ValueError):  # closed already
            process.kill()
            process.join()
