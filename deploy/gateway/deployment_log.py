"""The registry's rows of deployments, kept in step with what runs; written later where the registry is down."""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass

from core.errors import StemmaError
from deploy.gateway.catalog import Catalog, Version
from registry.lineage import deployments
from registry.lineage.deployments import State

log = logging.getLogger(__name__)


@dataclass
class LoggedDeployment:
    """One deployment: its state, and the state that the registry has (``recorded``, of the row ``row``)."""

    name: str
    version: Version
    state: State = "STARTING"
    recorded: State | None = None
    row: int | None = None


class DeploymentLog:
    """Writes deployments as they change."""

    def __init__(self, catalog: Catalog, place: str, url: str):
        """``place`` distinguishes this gateway from all others, on any machine."""
        self._catalog, self._place, self._url = catalog, place, url
        self._open: list[LoggedDeployment] = []
        self._lock = asyncio.Lock()
        self._closed_left: set[str] = set()

    def name_of(self, reference: str) -> str:
        return f"{reference} on {self._place}"

    def open(self, reference: str, version: Version) -> LoggedDeployment:
        """A new deployment; :meth:`flush` writes it."""
        deployment = LoggedDeployment(self.name_of(reference), version)
        self._open.append(deployment)
        return deployment

    async def flush(self, reference: str) -> None:
        """Write what the registry does not have yet; rows that a killed gateway here left open are closed first."""
        name = self.name_of(reference)
        async with self._lock:
            due = [each for each in self._open if each.recorded != each.state and each.name == name]
            if not due and name in self._closed_left:
                return
            try:
                await asyncio.to_thread(self._write, name, due)
            except StemmaError as error:
                log.warning("deployments are not in the registry yet, and will be written later: %s", error)
            self._open = [
                each for each in self._open if each.recorded not in deployments.ENDED or each.recorded != each.state
            ]

    def _write(self, name: str, due: list[LoggedDeployment]) -> None:
        registry = self._catalog.registry()
        if name not in self._closed_left:
            deployments.close_left(registry, name)
            self._closed_left.add(name)
        for each in due:
            state = each.state
            if each.row is None:
                each.row = deployments.start(registry, each.name, each.version.id, self._url)
                each.recorded = "STARTING"
            if state != each.recorded:
                deployments.move(registry, each.row, state)
            each.recorded = state
