"""The next step's data, read while the present step is computed."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from types import TracebackType
from typing import Generic, TypeVar

Batch = TypeVar("Batch")


class Prefetch(Generic[Batch]):
    """Calls ``read(step)`` one step ahead, in a thread.

    Args:
        read: a pure function of the step that draws from no shared random state, so that a checkpoint holds the same
            state whether or not the thread has run ahead.
        steps: no step from this number on is read.
    """

    def __init__(self, read: Callable[[int], Batch], steps: int):
        self._read, self._steps = read, steps
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="prefetch")
        self._next: tuple[int, Future[Batch]] | None = None

    def __enter__(self) -> Prefetch[Batch]:
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._thread.shutdown(cancel_futures=True)

    def get(self, step: int) -> Batch:
        """What ``read(step)`` returns, or the exception it raised; the next step is begun."""
        ahead = self._next
        future = ahead[1] if ahead and ahead[0] == step else self._thread.submit(self._read, step)
        batch = future.result()
        self._next = (step + 1, self._thread.submit(self._read, step + 1)) if step + 1 < self._steps else None
        return batch
