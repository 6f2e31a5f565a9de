"""The flow that records in the registry, and in MLflow, what the workspace holds."""

from __future__ import annotations

from prefect import flow, get_run_logger
from prefect.states import Completed, State

from flows.deployments import flow_run
from flows.pipeline import spools
from registry.lineage.sync import sync as sync_registry


@flow(name="sync", description="Reads dvc.lock and the receipts into the registry; sends MLflow what it missed.")
def sync(workspace: str | None = None) -> State:
    """Bring the registry up to date; doing it again changes nothing.

    Args:
        workspace: Folder of the workspace; the one that the deployments are served from when left out.
    """
    place, logger = flow_run.begin(workspace), get_run_logger()
    waiting = spools.send_pending(place)
    done = sync_registry(place)
    for problem in [*done.problems, *filter(None, [waiting, done.mirror.error])]:
        logger.warning(problem)
    new = ", ".join(done.versions) if done.versions else "no new version"
    return Completed(message=new, data=done.as_dict())
