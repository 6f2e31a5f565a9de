"""``/v1/models``: what is served, by true names, versions and digests."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter
from pydantic import BaseModel, Field

from deploy.gateway.errors import ApiError
from deploy.gateway.fleet import Fleet
from deploy.gateway.routes.documents import answers
from deploy.gateway.service import Service


class ServedModel(BaseModel):
    """OpenAI's fields, and what the registry knows."""

    id: str = Field(description="A name that keeps its meaning when a version is promoted.")
    object: str = "model"
    created: int = Field(description="When its engine was started; unix seconds.")
    owned_by: str = "stemma"
    version: str
    digest: str = Field(description="DVC's hash of the version's files.")
    names: list[str] = Field(description="All that requests may call it now.")
    kind: str = Field(description="generator or classifier.")
    chat: bool = Field(description="Whether it has a chat template, so that /v1/chat/completions answers.")
    context_length: int | None = Field(description="Tokens of prompt and answer together.")
    labels: list[str] = Field(description="Classes of a classifier.")
    engine: str


class ModelList(BaseModel):
    object: str = "list"
    data: list[ServedModel]


def router(fleet: Fleet) -> APIRouter:
    made = APIRouter(tags=["models"])

    @made.get("/v1/models", responses=_documented())
    async def models() -> ModelList:
        """The models that answer now."""
        return ModelList(data=[_of(service) for service in fleet.services if service.current is not None])

    @made.get("/v1/models/{name}", responses=_documented())
    async def model(name: str) -> ServedModel:
        """One of them."""
        service = fleet.find(name)
        if service.current is None:
            raise ApiError(
                404, f"model: {service.reference} is not served now; see /health", "model_not_found", param="model"
            )
        return _of(service)

    return made


def _documented() -> dict[int | str, dict[str, Any]]:
    return {code: told for code, told in answers({}).items() if code != 200}


def _of(service: Service) -> ServedModel:
    running = service.current
    assert running is not None
    return ServedModel(
        id=service.reference,
        created=int(running.started),
        version=running.version.name,
        digest=running.version.digest,
        names=list(dict.fromkeys(service.names)),
        kind=running.model.kind,
        chat=running.model.chat_template is not None,
        context_length=running.model.context,
        labels=running.model.labels,
        engine=running.engine.name,
    )
