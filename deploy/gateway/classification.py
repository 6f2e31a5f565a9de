"""``/v1/classify``."""

from __future__ import annotations

import asyncio
import time
import uuid
from typing import Any

import httpx
from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse

from deploy.gateway.bodies import BoundedRoute
from deploy.gateway.errors import ApiError, documented_responses
from deploy.gateway.generation import engine_ended, engine_refusal, key_of, until_disconnect, version_headers
from deploy.gateway.metrics import Metrics
from deploy.gateway.model_router import ModelRouter, require_kind
from deploy.gateway.schemas import ClassifyRequest
from deploy.gateway.settings import Limits

_DOCUMENTED = documented_responses({"application/json": {"schema": {"type": "object"}}})


def routes(models: ModelRouter, metrics: Metrics, limits: Limits) -> APIRouter:
    router = APIRouter(tags=["classification"], route_class=BoundedRoute)

    @router.post("/v1/classify", response_class=JSONResponse, responses=_DOCUMENTED)
    async def classify(request: Request, body: ClassifyRequest) -> JSONResponse:
        """Sort texts into the model's classes: for each its label, and the probability of every class."""
        if len(body.texts) > limits.texts:
            message = f"input: {len(body.texts)} texts; this gateway takes at most {limits.texts} in one request"
            raise ApiError(400, message, "too_many_texts", param="input")
        try:
            async with asyncio.timeout(limits.seconds):
                return await until_disconnect(request, answer(body, key_of(request)))
        except TimeoutError:
            raise ApiError(504, f"no answer within {limits.seconds:g} s; send fewer texts", "timeout") from None

    async def answer(body: ClassifyRequest, key: str) -> JSONResponse:
        server = models.find(body.model)
        await server.ready()
        require_kind(server, "classifier")
        async with server.lease(key) as engine:
            require_kind(server, "classifier")
            try:
                response = await engine.client.send(engine.request("/v1/classify", {"input": body.texts}))
            except httpx.TransportError:
                raise engine_ended() from None
            if response.status_code != 200:
                raise engine_refusal(response)
            found: list[dict[str, Any]] = response.json()
            tokens = sum(row["tokens"] for row in found)
            metrics.tokens.labels(server.reference, "prompt").inc(tokens)
            content = {
                "id": f"classify-{uuid.uuid4().hex}", "object": "list", "created": int(time.time()),
                "model": engine.version.name, "data": [{"index": index, **row} for index, row in enumerate(found)],
                "usage": {"prompt_tokens": tokens, "completion_tokens": 0, "total_tokens": tokens},
            }  # fmt: skip
            return JSONResponse(content, headers=version_headers(engine))

    return router
