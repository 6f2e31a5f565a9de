"""Notifying people of what was decided or failed: through a Prefect notification block, a webhook, or both.

The one function for it is :func:`notify`. Addresses and tokens are in the block, or in the environment variable that
``params.yaml`` names: never in the file itself, in a log or in an error's text. A notification that
cannot be sent never fails a run.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from components.harness.parameters import validate
from core.errors import InputProblem
from core.parameters_file import read
from core.workspace import Workspace
from registry.db.database import open as open_registry
from registry.db.references import resolve
from registry.errors import RegistryError

if TYPE_CHECKING:
    from registry.promotion.promote import PromotionOutcome

SECTION = "notifications"
APPROVAL = "promote/promote"  # the deployment whose runs wait for a person
TIMEOUT_SECONDS = 10.0
TRIES = 3  # to connect; what an answering server refuses is not tried again

_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_BLOCK = re.compile(r"[a-z0-9-]+/[a-z0-9-]+")
Event = Literal["promotion", "rollback", "rejection", "approval", "failure"]
_KINDS: dict[str, Event] = {"promote": "promotion", "rollback": "rollback", "reject": "rejection"}


class NotificationParameters(BaseModel):
    """The ``notifications`` section of ``params.yaml``."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    block: str | None = Field(
        None, description="A notification block of your Prefect server, TYPE/NAME, such as slack-webhook/team."
    )
    webhook_variable: str | None = Field(
        None, description="Name of the environment variable that holds the address to post JSON to."
    )

    @model_validator(mode="before")
    @classmethod
    def _a_name(cls, values: Any) -> Any:
        # Before the field is looked at: its own error would repeat the address, with the token in it.
        given = values.get("webhook_variable") if isinstance(values, dict) else None
        if given is not None and not (isinstance(given, str) and _VARIABLE.fullmatch(given)):
            raise ValueError(
                "webhook_variable must be the name of an environment variable, such as STEMMA_WEBHOOK_URL; an address "
                "often holds a token, so put it into that variable, not here"
            )
        return values

    @field_validator("block")
    @classmethod
    def _named(cls, value: str | None) -> str | None:
        if value is not None and not _BLOCK.fullmatch(value):
            raise ValueError("must be TYPE/NAME, as `prefect block ls` shows it, such as slack-webhook/team")
        return value


@dataclass(frozen=True)
class Notice:
    """Something that people should know.

    Attributes:
        event: what happened.
        text: the same in a sentence.
        verdict: the gate's checks, as it keeps them.
        reason: why, as the registry keeps it; of a failure, the error.
        links: addresses of pages about it, by name.
    """

    event: Event
    text: str
    model: str | None = None
    version: int | None = None
    alias: str | None = None
    previous: int | None = None
    verdict: dict[str, Any] | None = None
    reason: str | None = None
    run: str | None = None
    links: dict[str, str] = field(default_factory=dict)

    def as_dict(self) -> dict[str, Any]:
        """The JSON body of the webhook."""
        return asdict(self)

    def lines(self) -> str:
        """The body of a message for people."""
        parts = [self.text, f"Reason: {self.reason}" if self.reason else "", f"Run: {self.run}" if self.run else ""]
        return "\n".join([*filter(None, parts), *(f"{name}: {address}" for name, address in self.links.items())])


def decided(
    workspace: Workspace, outcome: PromotionOutcome, reason: str | None = None, run: str | None = None
) -> list[str]:
    """Notify people of a promotion, a rollback or a rejection; not of a version that holds the alias already.

    Args:
        reason: as the registry keeps it; of a rejection, and where none is given, what the gate saw.

    Returns:
        What could not be sent, and why, one line each.
    """
    from flows.pipeline.promotion import sentence

    if outcome.action not in _KINDS:
        return []
    verdict = outcome.verdict
    failed = [f"{check.name}: {check.detail}" for check in verdict.checks if not check.passed] if verdict else []
    passed = "every check of the gate passed" if verdict and verdict.passed else None
    notice = Notice(
        event=_KINDS[outcome.action],
        text=sentence(outcome),
        model=outcome.model,
        version=outcome.version,
        alias=outcome.alias,
        previous=outcome.previous,
        verdict=verdict.as_dict() if verdict else None,
        reason="; ".join(failed) if outcome.action == "reject" else reason or passed,
        run=run,
        links=links(workspace, f"{outcome.model}:{outcome.version}"),
    )
    return notify(workspace, notice)


def notify(workspace: Workspace, notice: Notice) -> list[str]:
    """Send a notice to wherever ``params.yaml`` says.

    Returns:
        What could not be sent, and why, one line each; a run goes on all the same.
    """
    try:
        parameters = validate(read(workspace.root / "params.yaml"), SECTION, NotificationParameters)
    except InputProblem as problem:
        return [f"notification of the {notice.event} not sent: {line}" for line in problem.problems]
    problems = []
    for name, send in ((parameters.webhook_variable, _post), (parameters.block, _through_block)):
        if name is not None and (why := send(name, notice)):
            problems.append(f"notification of the {notice.event} not sent: {why}")
    return problems


def links(workspace: Workspace, reference: str | None = None) -> dict[str, str]:
    """Pages about what goes on: the flow run in Prefect, and the MLflow run that made the version."""
    found = {}
    with contextlib.suppress(Exception):  # a link is a courtesy
        from prefect.runtime import flow_run

        if flow_run.id:
            found["flow_run"] = flow_run.ui_url
    if reference is not None and workspace.mlflow_uri.startswith(("http://", "https://")):
        with contextlib.suppress(RegistryError), open_registry(workspace.registry_url) as registry:
            with registry.read() as session:
                made = resolve(session, reference).execution
                if made.mlflow_run_id:
                    page = f"#/experiments/{made.mlflow_experiment_id}/runs/{made.mlflow_run_id}"
                    found["mlflow_run"] = f"{_without_password(workspace.mlflow_uri).rstrip('/')}/{page}"
    return found


def approval_page(outcome: PromotionOutcome, reason: str) -> str | None:
    """The page of the flow run that waits for the decision; ``None`` where no server has the deployment.

    The flow run is made where there is none for this version and alias yet.
    """
    if not os.environ.get("PREFECT_API_URL"):  # Prefect would start a server of its own
        return None
    import httpx
    from prefect.client.orchestration import get_client
    from prefect.exceptions import ObjectNotFound
    from prefect.utilities.urls import url_for

    try:
        with get_client(sync_client=True) as client:
            deployment = client.read_deployment_by_name(APPROVAL)
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
    return url_for("flow-run", str(flow_run.id))


def notify_of_failure(flow: Any, flow_run: Any, state: Any) -> None:
    """Prefect's hook for ``on_failure`` and ``on_crashed``: people are notified that a flow failed, and why.

    A flow within a flow leaves that to the outer one.
    """
    if flow_run.parent_task_run_id is not None:
        return
    from prefect.logging.loggers import flow_run_logger
    from prefect.utilities.urls import url_for

    given = (flow_run.parameters or {}).get("workspace")
    workspace = Workspace.find(Path(given) if given else None)
    address = url_for("flow-run", flow_run.id)
    notice = Notice(
        event="failure",
        text=f"{flow.name} ({flow_run.name}) {state.name.lower()}",
        reason=_first_lines(state.message),
        run=(flow_run.parameters or {}).get("run"),
        links={"flow_run": address} if address else {},
    )
    for problem in notify(workspace, notice):
        flow_run_logger(flow_run, flow).warning(problem)


def _post(variable: str, notice: Notice) -> str | None:
    """POST the notice as JSON; why that was not possible, without the address."""
    address = os.environ.get(variable)
    if not address:
        return f"{SECTION}.webhook_variable: the environment variable {variable} is not set where this ran"
    import httpx

    transport = httpx.HTTPTransport(retries=TRIES - 1)
    try:
        with httpx.Client(transport=transport, timeout=TIMEOUT_SECONDS) as client:
            content = json.dumps(notice.as_dict(), default=str)
            answer = client.post(address, content=content, headers={"Content-Type": "application/json"})
    except (httpx.HTTPError, httpx.InvalidURL, ValueError) as error:
        return f"the address in {variable} cannot be reached ({type(error).__name__})"
    if not answer.is_success:
        return f"the address in {variable} answered {answer.status_code} {answer.reason_phrase}"
    return None


def _through_block(name: str, notice: Notice) -> str | None:
    import prefect.blocks.notifications  # noqa: F401  (registers the kinds of blocks)
    from prefect.blocks.abstract import NotificationBlock
    from prefect.blocks.core import Block

    try:
        block = Block.load(name)
        if not isinstance(block, NotificationBlock):
            return f"{SECTION}.block: {name} is no notification block"
        with block.raise_on_failure():
            block.notify(notice.lines(), subject=f"Stemma: {notice.text}")
    except ValueError as error:  # Prefect says so where there is no such block
        return f"{SECTION}.block: {name}: {str(error).splitlines()[0]}"
    except Exception as error:  # whatever a third party's block raises; its text may hold the address
        return f"the block {name} failed ({type(error).__name__})"
    return None


def _without_password(address: str) -> str:
    return re.sub(r"(?<=://)[^/@\s]+@", "", address)


def _first_lines(message: str | None) -> str | None:
    lines = [line for line in (message or "").splitlines() if line.strip()]
    return "\n".join(lines[:12]) or None
