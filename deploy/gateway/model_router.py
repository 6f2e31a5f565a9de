"""All the models that one gateway serves, and finding the one that a request names."""

from __future__ import annotations

import asyncio
import contextlib

from deploy.gateway.adapter_hosts import AdapterHosts
from deploy.gateway.backends import Backend
from deploy.gateway.catalog import Catalog
from deploy.gateway.deployment_log import DeploymentLog
from deploy.gateway.errors import ApiError
from deploy.gateway.metrics import Metrics
from deploy.gateway.model_folder import Kind
from deploy.gateway.model_server import ModelServer
from deploy.gateway.settings import GatewaySettings

_ENDPOINT = {"generator": "/v1/chat/completions or /v1/completions", "classifier": "/v1/classify"}


class ModelRouter:
    """The model servers of a gateway, and the catalog of the registry that they follow."""

    def __init__(self, catalog: Catalog, backend: Backend, settings: GatewaySettings, metrics: Metrics, place: str):
        self.catalog = catalog
        deployments = DeploymentLog(catalog, place, settings.url)
        hosts = AdapterHosts()
        self.servers = [
            ModelServer(reference, catalog, deployments, backend, settings, metrics, hosts)
            for reference in settings.references
        ]
        self._tasks: list[asyncio.Task[None]] = []

    def start(self) -> None:
        """Begin to follow the registry."""
        self._tasks = [asyncio.create_task(server.run(), name=server.reference) for server in self.servers]

    async def stop(self) -> None:
        """End every engine."""
        for task in self._tasks:
            task.cancel()
        for task in self._tasks:
            with contextlib.suppress(asyncio.CancelledError):
                await task
        await asyncio.gather(*(server.stop() for server in self.servers))
        self.catalog.close()

    def find(self, name: str) -> ModelServer:
        """The server of the model that a request names.

        Raises:
            ApiError: there is none.
        """
        found = next((server for server in self.servers if name in server.names), None)
        if found is None:
            known = ", ".join(dict.fromkeys(name for server in self.servers for name in server.names))
            raise ApiError(
                404, f"model: {_short(name)} is not served here; served: {known}", "model_not_found", param="model"
            )
        return found


def require_kind(server: ModelServer, kind: Kind) -> None:
    """Refuse a request to an endpoint that the model is not made for, where its kind is known.

    Raises:
        ApiError: the model is of another kind.
    """
    engine = server.current
    if engine is not None and engine.model.kind != kind:
        raise ApiError(
            400, f"{engine.version.name} is a {engine.model.kind}: use {_ENDPOINT[engine.model.kind]}",
            "wrong_endpoint", param="model",
        )  # fmt: skip


def _short(name: str) -> str:
    return repr(name if len(name) <= 60 else f"{name[:57]}...")
