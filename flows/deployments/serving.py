"""Runs the deployments' runs, each in a process of its own, until SIGTERM.

Prefect's Runner rather than a process worker on a work pool: the worker puts a supervisor (a second Python with Prefect
in it) beside every run's process and leaves the runs to themselves when it is ended, while the Runner
cancels them, waits, and marks each one; and it needs no pool that has to be created. Both mark a run whose process
died as Crashed at once. ``prefect.yaml`` is there for those who want a pool of workers on other machines.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import signal
from pathlib import Path
from typing import TYPE_CHECKING

from flows.deployments import guards
from flows.deployments.catalogue import DEPLOYMENTS, TAGS, FlowDeployment

if TYPE_CHECKING:
    from prefect.deployments.runner import RunnerDeployment


POLL_SECONDS = 3.0  # how long a new run waits at most
FOLLOW_SECONDS = 5.0
RUNS = 8  # at once, a process each; runs that wait for a device count too, and must not keep a rollback from starting


async def serve(root: Path) -> None:
    """Register every deployment and what they need at the server, then run their runs until SIGTERM or SIGINT.

    Runs at work are then cancelled: their stages save their checkpoints.
    """
    from prefect.runner import Runner

    await guards.ensure()
    # Schedules go on when this process is restarted; paused ones would stay paused unnoticed.
    runner = Runner(name="stemma", query_seconds=POLL_SECONDS, limit=RUNS, pause_on_shutdown=False)
    for deployment in DEPLOYMENTS:
        await runner.aadd_deployment(prepared(deployment, root))
    serving = asyncio.create_task(runner.start())
    while not runner.started and not serving.done():
        await asyncio.sleep(0.05)
    # Set after the Runner has set its own handler, which never awaits its stop: the runs would be killed unmarked.
    ended = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, ended.set)
    stopping, following = asyncio.create_task(ended.wait()), asyncio.create_task(_follow(root))
    await asyncio.wait({serving, stopping}, return_when=asyncio.FIRST_COMPLETED)
    if not serving.done():
        await runner.astop()
    for task in (stopping, following):
        task.cancel()
    await serving


def prepared(deployment: FlowDeployment, root: Path) -> RunnerDeployment:
    """The deployment as Prefect takes it; its form's values are those of the workspace as it is now."""
    from prefect.deployments.runner import EntrypointType, RunnerDeployment

    made = RunnerDeployment.from_flow(
        deployment.flow(),
        name=deployment.name,
        description=deployment.description,
        tags=list(TAGS),
        parameters=deployment.parameters(root),
        schedules=deployment.schedules(root) if deployment.schedules else None,
        triggers=deployment.triggers(),
        enforce_parameter_schema=True,
        entrypoint_type=EntrypointType.MODULE_PATH,
    )
    if deployment.schedules is None:
        # An empty list would take away what was set in the UI, and the server takes no null in its place.
        made.model_fields_set.discard("schedules")
    # Named, so that a pool that `prefect deploy` has set is taken away: these runs are run here.
    made.work_pool_name = made.work_queue_name = None
    return made


async def _follow(root: Path) -> None:
    """Register anew whenever ``params.yaml`` was edited, so that forms begin with what it says, and schedules too."""
    known = _content(root)
    while True:
        await asyncio.sleep(FOLLOW_SECONDS)
        if (now := _content(root)) == known:
            continue
        known = now
        try:
            for deployment in DEPLOYMENTS:
                await prepared(deployment, root).aapply()
        except Exception as problem:  # a file half edited, a server away: the next edit is tried too
            logging.getLogger(__name__).warning("params.yaml was edited, but the forms were not: %s", problem)


def _content(root: Path) -> bytes:
    with contextlib.suppress(FileNotFoundError):
        return (root / "params.yaml").read_bytes()
    return b""
