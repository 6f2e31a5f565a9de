"""``/v1/models``, ``/health`` and ``/metrics``: what is served, by which version, and how it goes."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import PlainTextResponse
from prometheus_client import CONTENT_TYPE_LATEST
from pydantic import BaseModel, Field

from deploy.gateway.api_keys import Keyring
from deploy.gateway.errors import ApiError, documented_responses
from deploy.gateway.metrics import Metrics
from deploy.gateway.model_router import ModelRouter
from deploy.gateway.model_server import ModelServer


class ServedModel(BaseModel):
    """OpenAI's fields, and what the registry knows."""

    id: str = Field(description="A name that keeps its meaning when a version is promoted.")
    object: str = "model"
    created: int = Field(description="When its engine was started; unix seconds.")
    owned_by: str = "stemma"
    version: str
    digest: str = Field(description="DVC's hash of the version's files.")
    names: list[str] = Field(description="Every name that requests may use for it now.")
    kind: str = Field(description="generator or classifier.")
    chat: bool = Field(description="Whether it has a chat template, so that /v1/chat/completions answers.")
    context_length: int | None = Field(description="Tokens of prompt and answer together.")
    labels: list[str] = Field(description="Classes of a classifier.")
    engine: str


class ModelList(BaseModel):
    object: str = "list"
    data: list[ServedModel]


def routes(models: ModelRouter, metrics: Metrics, keyring: Keyring) -> APIRouter:
    router = APIRouter()

    @router.get("/v1/models", tags=["models"], responses=documented_responses())
    async def list_models() -> ModelList:
        """The models that answer now."""
        return ModelList(data=[_served(server) for server in models.servers if server.current is not None])

    @router.get("/v1/models/{name}", tags=["models"], responses=documented_responses())
    async def one_model(name: str) -> ServedModel:
        """One of them."""
        server = models.find(name)
        if server.current is None:
            raise ApiError(
                404, f"model: {server.reference} is not served now; see /health", "model_not_found", param="model"
            )
        return _served(server)

    @router.get("/health", tags=["operation"])
    async def health(request: Request) -> dict[str, Any]:
        """200 as soon as the gateway listens; the answer says what is served, and why a model is not.

        `status`: `ok` where every alias that has a holder is served by it, `degraded` where one is not, `idle` where
        no alias has a holder yet. Where keys are needed, problems are shown only to requests that carry one.
        """
        details = not keyring.required or request.scope.get("stemma.key") is not None
        shown = [server.describe(details=details) for server in models.servers]
        wanted = [model for model in shown if model["state"] != "waiting"]
        well = all(model["state"] == "serving" and not model["problem"] for model in wanted)
        return {"status": ("ok" if well else "degraded") if wanted else "idle", "models": shown}

    @router.get("/metrics", tags=["operation"], response_class=PlainTextResponse)
    async def prometheus() -> PlainTextResponse:
        """Metrics in Prometheus' text format."""
        return PlainTextResponse(metrics.page(), media_type=CONTENT_TYPE_LATEST)

    return router


def _served(server: ModelServer) -> ServedModel:
    engine = server.current
    assert engine is not None
    return ServedModel(
        id=server.reference,
        created=int(engine.started),
        version=engine.version.name,
        digest=engine.version.digest,
        names=list(dict.fromkeys(server.names)),
        kind=engine.model.kind,
        chat=engine.model.chat_template is not None,
        context_length=engine.model.context,
        labels=engine.model.labels,
        engine=engine.backend.name,
    )
