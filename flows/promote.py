"""The flow that moves an alias through the gate, once a person approved where ``params.yaml`` requires it."""

from __future__ import annotations

import re
from collections.abc import Callable

from prefect import flow, get_run_logger
from prefect.artifacts import create_markdown_artifact
from prefect.flow_runs import suspend_flow_run
from prefect.input import RunInput
from prefect.states import Completed, State
from pydantic import Field

from core.text import REASON_LIMIT, printable
from core.workspace import Workspace
from flows.deployments import flow_run, form, notifications
from flows.pipeline import report
from flows.pipeline.measure import measuring
from flows.pipeline.overlap import comparing
from flows.pipeline.pairing import pairing
from flows.pipeline.promotion import ALIAS, sentence
from registry.promotion.gate import Check
from registry.promotion.parameters import PromotionParameters
from registry.promotion.promote import ACTOR_LIMIT, PromotionOutcome, assess, check_request, default_actor
from registry.promotion.promote import promote as promote_version


class Approval(RunInput):
    """What a person answers."""

    approve: bool = Field(description="On: the version takes the alias. Off: it is recorded as a rejected candidate.")
    by: str = Field(min_length=1, pattern=r"\S", description="Your name. It is recorded with the decision.")
    comment: str = Field("", description="The reason. It is recorded with the decision.")


@flow(
    name="promote",
    description="Puts a version before the gate; what passes takes the alias, with approval where that is required.",
    on_failure=[notifications.notify_of_failure],
    on_crashed=[notifications.notify_of_failure],
)
def promote(
    model: form.ModelName,
    reason: str,
    version: int | None = None,
    alias: str = ALIAS,
    workspace: str | None = None,
) -> State:
    """Promote a version.

    Args:
        model: Name of the registered model.
        reason: Why the version is to be promoted; recorded with the decision.
        version: Number of the version; the newest when left out.
        alias: The alias to move.
        workspace: Folder of the workspace; the one that the deployments are served from when left out.
    """
    place, logger = flow_run.begin(workspace), get_run_logger()
    reference = f"{model}:{version}" if version is not None else model
    check_request(alias, reason, default_actor(place))
    if PromotionParameters.load(place.root).approval == "required":
        outcome = _with_approval(place, reference, alias, reason, logger.info)
    else:
        outcome = _decide(place, reference, alias, reason, default_actor(place), None, logger.info)
    for problem in notifications.decided(place, outcome, reason=reason):
        logger.warning(problem)
    names = {"promote": "Promoted", "reject": "Rejected", "unchanged": "Unchanged"}
    return Completed(name=names[outcome.action], message=sentence(outcome), data=outcome.as_dict())


def _with_approval(
    place: Workspace, reference: str, alias: str, reason: str, say: Callable[[str], None]
) -> PromotionOutcome:
    judged = assess(
        place, reference, alias, measure=measuring(place, say), compare=comparing(place), pair=pairing(place)
    )
    if judged.action == "await":
        version = f"{judged.model}:{judged.version}"
        _show(judged)
        # Where another version has become champion until the answer came, the question is asked anew.
        key = re.sub(r"[^A-Za-z0-9-]", "-", f"{version}-{alias}-over-{judged.previous}")
        # Suspended rather than paused: no process waits, perhaps for days, and a restart of the servers loses nothing.
        # The flow begins anew when a person has answered; by this key it then gets the answer instead of a pause.
        answer = suspend_flow_run(
            wait_for_input=Approval.with_initial_data(description=_question(judged, reason)), key=key
        )
        by, comment = printable(answer.by.strip()), printable(answer.comment.strip())
        word = "approved" if answer.approve else "rejected"
        check = Check("approved by a person", answer.approve, f"{word} by {by}{f': {comment}' if comment else ''}")
        whole = f"{reason} ({check.detail})"[:REASON_LIMIT]  # the check keeps all of it
        return _decide(place, version, alias, whole, by[:ACTOR_LIMIT], check, say)
    return _decide(place, reference, alias, reason, default_actor(place), None, say)


def _decide(
    place: Workspace,
    reference: str,
    alias: str,
    reason: str,
    actor: str,
    approval: Check | None,
    say: Callable[[str], None],
) -> PromotionOutcome:
    outcome = promote_version(
        place,
        reference,
        alias,
        reason,
        actor,
        measure=measuring(place, say),
        approval=approval,
        compare=comparing(place),
        pair=pairing(place),
    )
    _show(outcome)
    say(sentence(outcome))
    if outcome.mirror.error:
        say(f"MLflow update incomplete; it will be retried at the next sync: {outcome.mirror.error}")
    return outcome


def _show(outcome: PromotionOutcome) -> None:
    lines = [sentence(outcome), "", *report.verdict(outcome.verdict)]
    key = re.sub(r"[^a-z0-9-]", "-", f"gate-{outcome.model}-{outcome.version}".lower())
    create_markdown_artifact("\n".join(lines), key=key, description=sentence(outcome))


def _question(judged: PromotionOutcome, reason: str) -> str:
    lines = [f"**{sentence(judged)}**", "", f"Reason given: {reason}", "", *report.verdict(judged.verdict)]
    return "\n".join(lines)
