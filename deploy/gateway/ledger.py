"""The registry's rows of deployments, kept in step with what runs; a registry that is down is told later."""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass

from core.errors import StemmaError
from deploy.gateway.catalog import Catalog
from deploy.gateway.engine import Version
from registry.lineage import deployments
from registry.lineage.deployments import State

log = logging.getLogger(__name__)


@dataclass
class Entry:
    """One deployment: what it is, and what the registry was told of it."""

    name: str
    version: Version
    state: State = "STARTING"
    told: State | None = None
    row: int | None = None


class Ledger:
    """Writes entries as they change."""

    def __init__(self, catalog: Catalog, place: str, url: str):
        """``place`` tells this gateway from all others, on any machine."""
        self._catalog, self._place, self._url = catalog, place, url
        self._open: list[Entry] = []
        self._lock = asyncio.Lock()
        self._closed_left: set[str] = set()

    def name_of(self, reference: str) -> str:
        return f"{reference} on {self._place}"

    def open(self, reference: str, version: Version) -> Entry:
        """A new entry; :meth:`flush` writes it."""
        entry = Entry(self.name_of(reference), version)
        self._open.append(entry)
        return entry

    async def flush(self, reference: str) -> None:
        """Tell the registry what it was not told; what a killed gateway of this place left open is closed first."""
        name = self.name_of(reference)
        async with self._lock:
            due = [entry for entry in self._open if entry.told != entry.state and entry.name == name]
            if not due and name in self._closed_left:
                return
            try:
                await asyncio.to_thread(self._write, name, due)
            except StemmaError as error:
                log.warning("the registry was not told of deployments, it will be: %s", error)
            self._open = [
                entry for entry in self._open if entry.told not in deployments.ENDED or entry.told != entry.state
            ]

    def _write(self, name: str, due: list[Entry]) -> None:
        registry = self._catalog.registry()
        if name not in self._closed_left:
            deployments.close_left(registry, name)
            self._closed_left.add(name)
        for entry in due:
            state = entry.state
            if entry.row is None:
                entry.row = deployments.start(registry, entry.name, entry.version.id, self._url)
                entry.told = "STARTING"
            if state != entry.told:
                deployments.move(registry, entry.row, state)
            entry.told = state
