"""The same work on a Ray cluster: a task a piece, in order, a bounded number under way.

Plain tasks rather than Ray Data: they keep the order, and each ends well or is done again by itself. Ray runs a task
again elsewhere when its worker or node ends; a result is small, so this process holds it and it dies with no node.
"""

from __future__ import annotations

import os
import socket
from collections import deque
from collections.abc import Callable, Generator, Iterable
from typing import Any, TypeVar

from components.code import ROOT
from components.engine.parameters import EngineParameters
from core.errors import InputProblem

Task = TypeVar("Task")
Result = TypeVar("Result")
VERSION = "2.60.0"
RETRIES = 5  # of a task whose worker or node ended
AHEAD = 2  # tasks a processor that are under way or wait for one


def run(function: Callable[[Task], Result], tasks: Iterable[Task], engine: EngineParameters) -> Generator[Result]:
    """``function`` of every task on the cluster, in the order of the tasks.

    The project's own code is sent along; libraries, and the files that tasks name, must be on every node.

    Raises:
        InputProblem: Ray is not installed, or no cluster answers.
    """
    ray = _connected(engine)
    try:
        remote = ray.remote(num_cpus=1, max_retries=RETRIES, scheduling_strategy="SPREAD")(_call)
        called = ray.put(function)
        source, under_way = iter(tasks), deque[Any]()
        while True:
            most = engine.workers if engine.workers != "auto" else AHEAD * max(1, int(_processors(ray)))
            while len(under_way) < most:
                try:
                    under_way.append(remote.remote(called, next(source)))
                except StopIteration:
                    break
            if not under_way:
                return
            yield _result(ray, under_way.popleft())
    finally:
        ray.shutdown()


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


def _connected(engine: EngineParameters) -> Any:
    """The library, connected to the cluster that the parameters name."""
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    try:
        import ray
    except ImportError as error:
        raise InputProblem(
            f"engine.type is ray, but Ray is not installed here: pip install 'ray[data]=={VERSION}', or set it to local"
        ) from error
    address = engine.address or os.environ.get("RAY_ADDRESS") or "auto"
    _require_open(address)
    packages = [str(ROOT / name) for name in ("components", "core")]
    try:
        ray.init(
            address,
            runtime_env={"py_modules": packages, "excludes": ["**/__pycache__"]},
            log_to_driver=False,
            logging_level="ERROR",
        )
    except (ConnectionError, RuntimeError, ValueError, TimeoutError) as error:
        raise _unreachable(address, error) from error
    return ray


def _require_open(address: str) -> None:
    """Ray would try for minutes to reach an address at which nothing listens."""
    host, _, port = address.rpartition(":")
    if host and port.isdigit() and "/" not in host:
        try:
            socket.create_connection((host, int(port)), timeout=10).close()
        except OSError as error:
            raise _unreachable(address, error) from error


def _unreachable(address: str, error: Exception) -> InputProblem:
    reason = str(error).splitlines()[0] if str(error) else ""
    return InputProblem(
        f"engine: no Ray cluster answers at {address} ({type(error).__name__}: {reason}): start one (docs/data.md), "
        "correct engine.address, give the cluster's token (RAY_AUTH_MODE=token and RAY_AUTH_TOKEN), or set engine.type "
        "to local"
    )
