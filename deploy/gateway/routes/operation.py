"""``/health`` and ``/metrics``, for whoever runs the gateway."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import PlainTextResponse
from prometheus_client import CONTENT_TYPE_LATEST

from deploy.gateway.fleet import Fleet
from deploy.gateway.guard import Keyring
from deploy.gateway.metrics import Metrics


def router(fleet: Fleet, metrics: Metrics, keyring: Keyring) -> APIRouter:
    made = APIRouter(tags=["operation"])

    @made.get("/health")
    async def health(request: Request) -> dict[str, Any]:
        """200 as soon as the gateway listens; what it serves, and why not, is in the answer.

        `status`: `ok` where every model that somebody was promoted for is served as promoted, `degraded` where one is
        not, `idle` where nobody was promoted yet. Where keys are needed, problems are told only to who shows one.
        """
        told = not keyring.keys() or request.scope.get("stemma.key") is not None
        models = [service.describe(told=told) for service in fleet.services]
        wanted = [model for model in models if model["state"] != "waiting"]
        well = all(model["state"] == "serving" and not model["problem"] for model in wanted)
        return {"status": ("ok" if well else "degraded") if wanted else "idle", "models": models}

    @made.get("/metrics", response_class=PlainTextResponse)
    async def figures() -> PlainTextResponse:
        """Figures for Prometheus."""
        return PlainTextResponse(metrics.page(), media_type=CONTENT_TYPE_LATEST)

    return made
