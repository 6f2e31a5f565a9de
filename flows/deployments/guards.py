"""What a Prefect server needs beside the deployments: the limit ``train``, and the automations that mark dead runs.

The global concurrency limit says how many runs may train at once on the machines of the server. The automations mark a
flow run Crashed when its process was killed and none is left to say so: a flow sends heartbeats while it works
(``PREFECT_FLOWS_HEARTBEAT_FREQUENCY``). Where the Runner lives, it sees a dead process at once; they are for runs whose
Runner died too, and for a bare ``stemma run``. From Prefect's guide "Detect zombie flows". A run whose Runner died
between taking it up and starting its process would be Pending without end.

``python -m flows.deployments.guards`` makes them at ``PREFECT_API_URL``, for servers whose runs are run by a pool of
workers.
"""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import TYPE_CHECKING

from flows.deployments.catalogue import TAGS
from flows.deployments.device_slot import LIMIT

if TYPE_CHECKING:
    from prefect.automations import Automation

SLOTS = 1

BEAT_SECONDS = 30  # the shortest that Prefect allows; set for every flow in core/environment.py and prefect.yaml
# A server that stood still for 45 seconds, or a busy machine, delays the beat that was due by that much: a run whose
# process lives is not to be marked.
SILENCE_SECONDS = 90
# A flow's process imports Prefect and the flow before it says that it runs, which takes a minute on a busy machine.
SUBMIT_SECONDS = 180


async def ensure() -> None:
    """Make them, where they are missing or not as they should be."""
    await _ensure_limit()
    for wanted in automations():
        await _ensure_automation(wanted)


def automations() -> list[Automation]:
    """The automations as they should be: for runs that are silent, and for runs that never began."""
    message = (
        "The process of this run was killed: its heartbeat stopped. Retry it: it goes on from the last checkpoint."
    )
    return [
        _crash_after(
            SILENCE_SECONDS,
            {"prefect.flow-run.heartbeat"},
            name="stemma: crash zombie flow runs",
            description="A flow run that sent heartbeats and has been silent since is no longer at work.",
            message=f"{message} A retry is refused while the process lives after all.",
        ),
        _crash_after(
            SUBMIT_SECONDS,
            {"prefect.flow-run.Pending"},
            name="stemma: crash flow runs that never began",
            description="A flow run that was taken up and has not begun since: what was to start it was killed.",
            message="This run was taken up and never began: the process that was to start it was killed. Retry it.",
        ),
    ]


def _crash_after(seconds: float, after: set[str], *, name: str, description: str, message: str) -> Automation:
    """Marks a flow run Crashed for which, ``seconds`` after one of the events ``after``, no other event has come."""
    from prefect.automations import Automation
    from prefect.client.schemas.objects import StateType
    from prefect.events.actions import ChangeFlowRunState
    from prefect.events.schemas.automations import EventTrigger, Posture

    return Automation(
        name=name,
        description=description,
        trigger=EventTrigger(
            after=after,
            # Any state ends the wait: events are named by the states' own names, such as `Nothing new`.
            expect={"prefect.flow-run.*"},
            match={"prefect.resource.id": ["prefect.flow-run.*"]},
            # How often other flows of this server send heartbeats is not known.
            match_related={"prefect.resource.id": [f"prefect.tag.{tag}" for tag in TAGS]},
            for_each={"prefect.resource.id"},
            posture=Posture.Proactive,
            threshold=1,
            within=timedelta(seconds=seconds),
        ),
        actions=[ChangeFlowRunState(state=StateType.CRASHED, message=message)],
    )


async def _ensure_automation(wanted: Automation) -> None:
    """Create the automation at the server, or bring it up to date."""
    from prefect.automations import Automation

    try:
        standing = await Automation.aread(name=wanted.name)
    except ValueError:  # Prefect's word for: there is none
        await wanted.acreate()
        return
    if standing.trigger.model_dump(exclude={"id"}) != wanted.trigger.model_dump(exclude={"id"}):
        wanted.id = standing.id
        await wanted.aupdate()


async def _ensure_limit() -> None:
    """Create the limit where there is none; a number that was set in the UI stays."""
    from prefect.client.orchestration import get_client
    from prefect.client.schemas.actions import GlobalConcurrencyLimitCreate
    from prefect.exceptions import ObjectAlreadyExists, ObjectNotFound

    async with get_client() as client:
        try:
            await client.read_global_concurrency_limit_by_name(LIMIT)
        except ObjectNotFound:
            try:
                await client.create_global_concurrency_limit(GlobalConcurrencyLimitCreate(name=LIMIT, limit=SLOTS))
            except ObjectAlreadyExists:  # made by another process meanwhile
                return


if __name__ == "__main__":
    asyncio.run(ensure())
