"""The flow that gives an alias back to a version that held it before."""

from __future__ import annotations

from prefect import flow, get_run_logger
from prefect.artifacts import create_markdown_artifact
from prefect.states import Completed, State

from flows.deployments import flow_run, form, notifications
from flows.pipeline import report
from flows.pipeline.promotion import ALIAS, sentence
from registry.promotion.promote import default_actor
from registry.promotion.rollback import rollback as roll_back


@flow(
    name="rollback",
    description="Gives an alias back to an earlier holder, once its files and signature are verified.",
    on_failure=[notifications.notify_of_failure],
    on_crashed=[notifications.notify_of_failure],
)
def rollback(
    model: form.ModelName,
    reason: str,
    to_version: int | None = None,
    alias: str = ALIAS,
    workspace: str | None = None,
) -> State:
    """Roll an alias back.

    Args:
        model: Name of the registered model.
        reason: Why the alias is to be moved; recorded with the decision.
        to_version: An earlier holder; the one before the present one when left out.
        alias: The alias to give back.
        workspace: Folder of the workspace; the one that the deployments are served from when left out.
    """
    place, logger = flow_run.begin(workspace), get_run_logger()
    outcome = roll_back(place, model, reason, default_actor(place), alias=alias, to_version=to_version)
    text = sentence(outcome)
    logger.info(text)
    lines = [text, "", *report.verdict(outcome.verdict)]
    create_markdown_artifact("\n".join(lines), key="rollback-report", description=text)
    for problem in notifications.decided(place, outcome, reason=reason):
        logger.warning(problem)
    name = "Unchanged" if outcome.action == "unchanged" else "Rolled back"
    return Completed(name=name, message=text, data=outcome.as_dict())
