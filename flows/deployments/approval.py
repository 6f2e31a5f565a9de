"""Where ``promotion.approval`` is ``required``: a candidate that passed the gate is put before a person."""

from __future__ import annotations

import os
from collections.abc import Callable

from core.workspace import Workspace
from flows.deployments import notifications
from flows.pipeline import promotion
from registry.promotion.promote import PromotionOutcome

DEPLOYMENT = "promote/promote"


def ask(workspace: Workspace, outcome: PromotionOutcome, run: str, say: Callable[[str], None]) -> str:
    """Start the flow that waits for the decision, where there is a server that has it; how to decide, in a sentence.

    Asked again for the same version, it is the same flow run.

    Args:
        say: told what could not be notified.
    """
    version, reason = f"{outcome.model}:{outcome.version}", f"made and measured by {run}"
    page = _start(outcome, reason)
    command = f'stemma promote {version} --to {outcome.alias} --reason "{reason}"'
    notice = notifications.Notice(
        event="approval",
        text=promotion.sentence(outcome),
        model=outcome.model,
        version=outcome.version,
        alias=outcome.alias,
        previous=outcome.previous,
        verdict=outcome.verdict.as_dict() if outcome.verdict else None,
        reason=reason,
        run=run,
        links={**notifications.links(workspace, version), **({"approve": page} if page else {})},
    )
    for problem in notifications.notify(workspace, notice):
        say(problem)
    return f"{promotion.sentence(outcome)}: {page or command}"


def _start(outcome: PromotionOutcome, reason: str) -> str | None:
    """The page of the flow run that waits for the decision; ``None`` where no server has the deployment."""
    if not os.environ.get("PREFECT_API_URL"):  # Prefect would start a server of its own
        return None
    import httpx
    from prefect.client.orchestration import get_client
    from prefect.exceptions import ObjectNotFound

    from flows.pipeline import links

    try:
        with get_client(sync_client=True) as client:
            deployment = client.read_deployment_by_name(DEPLOYMENT)
            flow_run = client.create_flow_run_from_deployment(
                deployment.id,
                parameters={
                    "model": outcome.model,
                    "version": outcome.version,
                    "alias": outcome.alias,
                    "reason": reason,
                },
                idempotency_key=f"{outcome.model}:{outcome.version}@{outcome.alias}",
                tags=["approval"],
            )
    except (ObjectNotFound, httpx.HTTPError):
        return None
    return links.flow_run(str(flow_run.id))
