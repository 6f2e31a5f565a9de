"""Starting a run of a deployment on Prefect's server, as its form does with the values that it begins with."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from core.errors import StemmaError
from deploy.stack.services import Unhealthy, post

OFFERED = {
    "lifecycle": "Run what has changed, by params.yaml, and put new models before the gate",
    "retrain": "Look for new raw data, and train a candidate on it",
}
ATTEMPTS, PAUSE_SECONDS = 5, 1.0  # its database may be busy


class NotStarted(StemmaError):
    """Prefect's server did not take the run."""


@dataclass(frozen=True)
class StartedRun:
    """A flow run that waits for its turn; ``id`` and ``name`` are Prefect's."""

    id: str
    name: str


def start(deployment: str, person: str, environment: Mapping[str, str] | None = None) -> StartedRun:
    """Ask for a run of a deployment; the tag ``by PERSON`` says who did.

    Args:
        environment: ``PREFECT_API_URL`` names the server, ``PREFECT_API_AUTH_STRING`` opens it; this process's where
            not given.

    Raises:
        NotStarted: there is no server or no such deployment, or the server does not take the run.
    """
    given = os.environ if environment is None else environment
    api, auth = given.get("PREFECT_API_URL"), given.get("PREFECT_API_AUTH_STRING")
    if not api:
        raise NotStarted("no Prefect server is named here; `stemma up` starts one with the console")
    wanted = {"deployments": {"name": {"any_": [deployment]}, "tags": {"all_": ["stemma"]}}}
    found = _ask(f"{api}/deployments/filter", wanted, auth)
    if not found:
        raise NotStarted(f"Prefect has no deployment {deployment} yet; wait until the deployments are healthy")
    body = {"state": {"type": "SCHEDULED"}, "tags": ["stemma", f"by {person}"]}
    made = _ask(f"{api}/deployments/{found[0]['id']}/create_flow_run", body, auth)
    return StartedRun(made["id"], made["name"])


def _ask(url: str, body: Any, auth: str | None) -> Any:
    for left in reversed(range(ATTEMPTS)):
        try:
            return post(url, body, auth)
        except Unhealthy as error:
            if not left or "503" not in str(error):
                raise NotStarted(f"Prefect's server {error}; nothing was started") from None
            time.sleep(PAUSE_SECONDS)
    raise AssertionError("the last attempt returned or raised")
