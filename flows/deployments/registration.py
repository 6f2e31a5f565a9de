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

    return RunnerDeployment.from_flow(
        deployment.flow(),
        name=deployment.name,
        description=deployment.description,
        tags=list(TAGS),
        parameters=deployment.parameters(root),
        schedules=deployment.schedules(root),
        triggers=deployment.triggers(),
        enforce_parameter_schema=True,
        entrypoint_type=EntrypointType.MODULE_PATH,
    )
