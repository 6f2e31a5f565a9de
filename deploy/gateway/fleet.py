"""All the models that one gateway serves, and finding the one that a request names."""

from __future__ import annotations

import asyncio
import contextlib

from deploy.gateway.catalog import Catalog
from deploy.gateway.engines import Engine
from deploy.gateway.errors import ApiError
from deploy.gateway.ledger import Ledger
from deploy.gateway.metrics import Metrics
from deploy.gateway.model_folder import Kind
from deploy.gateway.service import Service
from deploy.gateway.settings import Settings

_ENDPOINT = {"generator": "/v1/chat/completions or /v1/completions", "classifier": "/v1/classify"}


class Fleet:
    """The services of a gateway."""

    def __init__(self, catalog: Catalog, engine: Engine, settings: Settings, metrics: Metrics, place: str):
        self._catalog = catalog
        ledger = Ledger(catalog, place, settings.url)
        self.services = [
            Service(reference, catalog, ledger, engine, settings, metrics) for reference in settings.references
        ]
        self._tasks: list[asyncio.Task[None]] = []

    def start(self) -> None:
        """Begin to follow the registry."""
        self._tasks = [asyncio.create_task(service.run(), name=service.reference) for service in self.services]

    async def stop(self) -> None:
        """End every engine."""
        for task in self._tasks:
            task.cancel()
        for task in self._tasks:
            with contextlib.suppress(asyncio.CancelledError):
                await task
        await asyncio.gather(*(service.stop() for service in self.services))
        self._catalog.close()

    def find(self, name: str) -> Service:
        """The service that a request's ``model`` names.

        Raises:
            ApiError: none does.
        """
        found = next((service for service in self.services if name in service.names), None)
        if found is None:
            known = ", ".join(dict.fromkeys(name for service in self.services for name in service.names))
            raise ApiError(
                404, f"model: {_short(name)} is not served here; served: {known}", "model_not_found", param="model"
            )
        return found


def require_kind(service: Service, kind: Kind) -> None:
    """Refuse a request that the model is not made for, where it is known what it is made for.

    Raises:
        ApiError: it is made for another endpoint.
    """
    running = service.current
    if running is not None and running.model.kind != kind:
        raise ApiError(
            400, f"{running.version.name} is a {running.model.kind}: ask {_ENDPOINT[running.model.kind]}",
            "wrong_endpoint", param="model",
        )  # fmt: skip


def _short(name: str) -> str:
    return repr(name if len(name) <= 60 else f"{name[:57]}...")
