"""What starts a retraining in Prefect: the cron schedule of ``params.yaml``, and the event that new raw data causes."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from core.environment import quiet_prefect

if TYPE_CHECKING:
    from prefect.events import DeploymentEventTrigger
    from prefect.schedules import Schedule

EVENT = "stemma.data.changed"
RESOURCE = "stemma.data.raw"


def body(files: Sequence[str]) -> dict[str, Any]:
    """The event as ``POST /api/events`` takes it, in a list."""
    from datetime import UTC, datetime
    from uuid import uuid4

    return {
        "id": str(uuid4()),
        "occurred": datetime.now(UTC).isoformat(),
        "event": EVENT,
        "resource": {"prefect.resource.id": RESOURCE, "prefect.resource.name": "data/raw"},
        "payload": {"files": list(files)},
    }


def emit(files: Sequence[str]) -> None:
    """Send the event to the Prefect server that the settings name; its automation starts the retraining.

    Raises:
        httpx.HTTPError: it cannot be reached, or refused.
    """
    from prefect.client.orchestration import get_client

    with get_client(sync_client=True) as client:  # brings the server's credentials, where it requires them
        client.request("POST", "/events", json=[body(files)])


def announce(home: Path, files: Sequence[str]) -> tuple[str | None, str]:
    """Send the event to the server of ``PREFECT_API_URL``, or else of a running ``stemma up``, where there is one.

    Returns:
        the event's name, if it was sent; and what became of it, in a sentence.
    """
    url = os.environ.get("PREFECT_API_URL") or _stack_url(home)
    if not url:
        return None, "no Prefect server is configured, so no retraining starts; run `stemma retrain`"
    quiet_prefect(home / "prefect", url)
    try:
        emit(files)
    except Exception as error:  # the data is in, which is what the command is for
        return None, (
            f"Prefect at {shown(url)} did not take the event ({type(error).__name__}), so no retraining starts; run "
            "`stemma retrain`, or wait for the schedule"
        )
    return EVENT, f"event sent to Prefect: {EVENT}"


def _stack_url(home: Path) -> str | None:
    """The Prefect server of a running `stemma up`."""
    from deploy.stack import state

    stack = state.read(home)
    return stack.prefect_api_url if stack else None


def shown(url: str) -> str:
    """A server's address without the password that it may hold."""
    return re.sub(r"(?<=://)[^/@\s]+@", "", url)


def schedules(root: Path) -> list[Schedule]:
    """The schedule of ``retrain.cron``; none where it is null.

    Raises:
        InputProblem: mistakes in ``params.yaml``.
    """
    from prefect.schedules import Cron

    from flows.retraining.rules import load

    _, rules = load(root)
    return [Cron(rules.cron, timezone=rules.timezone)] if rules.cron else []


def triggers() -> list[DeploymentEventTrigger]:
    """The automation that starts the deployment, once for each event."""
    from prefect.events import DeploymentEventTrigger

    return [
        DeploymentEventTrigger(
            name="new raw data starts retraining",
            description=f"Started by {EVENT}: `stemma data add`, or POST /api/events",
            expect={EVENT},
            match={"prefect.resource.id": RESOURCE},
            threshold=1,
            within=timedelta(0),
        )
    ]
