"""The automation that marks a flow run Crashed when its process was killed and nobody is left to say so.

A flow beats while it works (``PREFECT_FLOWS_HEARTBEAT_FREQUENCY``). Where the Runner lives, it sees a dead process at
once; this is for runs whose Runner died too, and for a bare ``stemma run``. From Prefect's guide "Detect zombie flows".
"""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

from flows.deployments.catalogue import TAGS

if TYPE_CHECKING:
    from prefect.automations import Automation

NAME = "stemma: crash zombie flow runs"
BEAT_SECONDS = 30  # the shortest that Prefect allows; set for every flow in core/environment.py and prefect.yaml
# A beat may be late by two thirds of its time; with the five seconds after which the server looks, a run is Crashed
# within a minute.
SILENCE_SECONDS = 50


def automation() -> Automation:
    """The automation as it should be."""
    from prefect.automations import Automation
    from prefect.client.schemas.objects import StateType
    from prefect.events.actions import ChangeFlowRunState
    from prefect.events.schemas.automations import EventTrigger, Posture

    return Automation(
        name=NAME,
        description="A flow run that beat and has been silent since is no longer at work.",
        trigger=EventTrigger(
            after={"prefect.flow-run.heartbeat"},
            # Any state ends the wait: events are named by the states' own names, such as `Nothing new`.
            expect={"prefect.flow-run.*"},
            match={"prefect.resource.id": ["prefect.flow-run.*"]},
            # Of other flows at this server nobody knows how often they beat.
            match_related={"prefect.resource.id": [f"prefect.tag.{tag}" for tag in TAGS]},
            for_each={"prefect.resource.id"},
            posture=Posture.Proactive,
            threshold=1,
            within=timedelta(seconds=SILENCE_SECONDS),
        ),
        actions=[
            ChangeFlowRunState(
                state=StateType.CRASHED,
                message="The process of this run was killed: its heartbeat stopped. Retry it: it goes on from the "
                "last checkpoint.",
            )
        ],
    )


async def ensure() -> None:
    """Create the automation at the server, or bring it up to date."""
    from prefect.automations import Automation

    wanted = automation()
    try:
        standing = await Automation.aread(name=NAME)
    except ValueError:  # Prefect's word for: there is none
        await wanted.acreate()
        return
    if standing.trigger.model_dump(exclude={"id"}) != wanted.trigger.model_dump(exclude={"id"}):
        wanted.id = standing.id
        await wanted.aupdate()
