"""Puts the deployments into the Prefect server. Doing it again changes nothing but what has changed."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from flows.deployments.catalogue import TAGS, Deployment

if TYPE_CHECKING:
    from prefect.deployments.runner import RunnerDeployment


def prepared(deployment: Deployment, root: Path) -> RunnerDeployment:
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
        # An empty list would take away what somebody has set, and the server takes no null in its place.
        made.model_fields_set.discard("schedules")
    # Named, so that a pool that `prefect deploy` has set is taken away: these runs are run here.
    made.work_pool_name = made.work_queue_name = None
    return made
