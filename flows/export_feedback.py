"""The flow that makes data to train on of what people say of answers."""

from __future__ import annotations

from prefect import flow, get_run_logger
from prefect.states import Completed, State

from flows.deployments import flow_run
from flows.feedback.export import export
from flows.retraining import triggers


@flow(
    name="export_feedback",
    description="Votes, thumbs, stars and edits that may be trained on become files below data/raw/feedback.",
)
def export_feedback(workspace: str | None = None) -> State:
    """Write the files anew; new ones send the event that may start a retraining.

    Args:
        workspace: Folder of the workspace; the one that the deployments are served from when left out.
    """
    place, logger = flow_run.begin(workspace), get_run_logger()
    done = export(place)
    if done.changed:
        triggers.emit(done.changed)
    for note in done.notes:
        logger.info(note)
    rows = ", ".join(f"{count} rows in {name}" for name, count in done.rows.items())
    return Completed(message=rows if done.changed else f"nothing changed: {rows}", data=done.as_dict())
