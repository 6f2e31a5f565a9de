"""``/v1/classify``."""

from __future__ import annotations

import asyncio
import time
import uuid
from typing import Any

import httpx
from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse

from deploy.gateway.contract import ClassifyRequest
from deploy.gateway.errors import ApiError
from deploy.gateway.fleet import Fleet, require_kind
from deploy.gateway.generation import refused, unless_gone, version_headers
from deploy.gateway.metrics import Metrics
from deploy.gateway.routes.documents import answers
from deploy.gateway.settings import Limits

_JSON = {"application/json": {"schema": {"type": "object"}}}


def router(fleet: Fleet, metrics: Metrics, limits: Limits) -> APIRouter:
    made = APIRouter(tags=["classification"])

    @made.post("/v1/classify", response_class=JSONResponse, responses=answers(_JSON))
    async def classify(request: Request, asked: ClassifyRequest) -> JSONResponse:
        """Sort texts into the model's classes: for each its label, and the probability of every class."""
        if len(asked.texts) > limits.texts:
            message = (
                f"input: {len(asked.texts)} texts are more than the {limits.texts} that this gateway takes at once"
            )
            raise ApiError(400, message, "too_many_texts", param="input")
        try:
            async with asyncio.timeout(limits.seconds):
                return await unless_gone(request, work(asked))
        except TimeoutError:
            raise ApiError(504, f"no answer within {limits.seconds:g} s; send fewer texts", "timeout") from None

    async def work(asked: ClassifyRequest) -> JSONResponse:
        service = fleet.find(asked.model)
        await service.ready()
        require_kind(service, "classifier")
        async with service.lease() as running:
            require_kind(service, "classifier")
            try:
                answer = await running.client.send(running.request("/v1/classify", {"input": asked.texts}))
            except httpx.TransportError:
                raise ApiError(503, "the engine ended; it is being restarted", "engine_failed", retry_after=2) from None
            if answer.status_code != 200:
                raise refused(answer)
            found: list[dict[str, Any]] = answer.json()
            tokens = sum(row["tokens"] for row in found)
            metrics.tokens.labels(service.reference, "prompt").inc(tokens)
            body = {
                "id": f"classify-{uuid.uuid4().hex}", "object": "list", "created": int(time.time()),
                "model": running.version.name, "data": [{"index": index, **row} for index, row in enumerate(found)],
                "usage": {"prompt_tokens": tokens, "completion_tokens": 0, "total_tokens": tokens},
            }  # fmt: skip
            return JSONResponse(body, headers=version_headers(running))

    return made
