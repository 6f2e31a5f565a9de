"""What the pages of a console share: the workspace, the open registry, the gate, and links to the other services."""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from urllib.parse import urlsplit

from sqlalchemy.orm import Session
from starlette.requests import Request

from core.errors import InputProblem, StemmaError
from core.workspace import Workspace
from deploy.console.access import Person
from deploy.console.deciding import DecisionsAtWork
from deploy.stack import state
from deploy.stack.state import GATEWAY, MLFLOW, PREFECT
from registry.db.database import Registry
from registry.db.database import open as open_registry
from registry.integrity import history
from registry.promotion.contamination import Compare
from registry.promotion.gate import Pair
from registry.promotion.promote import Measure

PORTS_VARIABLE = "STEMMA_CONSOLE_PORTS"
Measuring = Callable[[Callable[[str], None]], Measure]  # with a function that takes a line for each thing it does


@dataclass(frozen=True)
class Gate:
    """What :func:`registry.promotion.promote.promote` needs of the floor above to judge a candidate."""

    measuring: Measuring | None = None
    compare: Compare | None = None
    pair: Pair | None = None


@dataclass
class Console:
    """The console of one workspace."""

    workspace: Workspace
    gate: Gate
    decisions: DecisionsAtWork = field(default_factory=DecisionsAtWork)
    auditing: threading.Lock = field(default_factory=threading.Lock)
    _registry: Registry | None = None
    _opening: threading.Lock = field(default_factory=threading.Lock)

    @property
    def registry(self) -> Registry:
        """The open registry.

        Raises:
            DatabaseError: it cannot be opened.
        """
        with self._opening:
            if self._registry is None:
                self._registry = open_registry(self.workspace.registry_url)
            return self._registry

    @contextlib.contextmanager
    def read(self) -> Iterator[Session]:
        """A session that sees one consistent state and changes nothing."""
        with self.registry.read() as session:
            yield session

    def doubt(self, session: Session) -> str | None:
        """Why the promotions, and so the aliases that a page shows, may not be believed."""
        try:
            history.require(self.workspace, session)
        except StemmaError as error:
            return str(error)
        return None


def person_of(request: Request) -> Person:
    """Who asks; whoever comes this far has signed in."""
    person: Person = request.scope["stemma.person"]
    return person


class NotAllowed(InputProblem):
    """The person's role does not go so far."""


def allowed(request: Request, role: str) -> Person:
    """Who asks, where that person has the rights of ``role``.

    Raises:
        NotAllowed: the role does not go so far.
    """
    person = person_of(request)
    if not person.may(role):
        raise NotAllowed(f"{person.name} is {person.role}; this needs the role {role}. Nothing was changed.")
    return person


def _published() -> dict[str, int | None]:
    words = (word.partition("=") for word in os.environ.get(PORTS_VARIABLE, "").split())
    return {name: int(port) for name, _, port in words if port.isdigit()}


class Links:
    """Addresses of pages of the other services of a stack, as the browser that asks reaches them.

    ``None`` where a service does not run. Where the stack is no `stemma up`, ``STEMMA_CONSOLE_PORTS`` says on which
    ports the others are published, such as ``prefect=4200 mlflow=5000 gateway=8000``.
    """

    def __init__(self, request: Request, stack: state.Stack | None):
        self._host = request.url.hostname or "localhost"
        self._scheme = request.url.scheme
        started = {each.name: urlsplit(each.url).port for each in stack.services if each.url} if stack else {}
        self._ports = started or _published()

    def _page(self, service: str, path: str) -> str | None:
        port = self._ports.get(service)
        host = f"[{self._host}]" if ":" in self._host else self._host
        return f"{self._scheme}://{host}:{port}{path}" if port else None

    @property
    def chat(self) -> str | None:
        return self._page(GATEWAY, "/")

    @property
    def arena(self) -> str | None:
        return self._page(GATEWAY, "/arena")

    @property
    def prefect(self) -> str | None:
        return self._page(PREFECT, "/v2")

    @property
    def mlflow(self) -> str | None:
        return self._page(MLFLOW, "/")

    def flow_run(self, identity: str | None) -> str | None:
        return self._page(PREFECT, f"/v2/runs/flow-run/{identity}") if identity else None

    def mlflow_run(self, run: tuple[str, str] | None) -> str | None:
        """``run`` is (experiment, run)."""
        if run is None:
            return None
        return self._page(MLFLOW, f"/#/experiments/{run[0]}/runs/{run[1]}?workflowType=machine_learning")
