"""``/v1/chat/completions`` and ``/v1/completions``."""

from __future__ import annotations

from fastapi import APIRouter, Request
from fastapi.responses import Response

from deploy.gateway.contract import ChatRequest, CompletionRequest
from deploy.gateway.generation import Answering
from deploy.gateway.routes.documents import answers

_STREAM = {"text/event-stream": {"schema": {"type": "string"}}}
_JSON = {"application/json": {"schema": {"type": "object"}}}


def router(answering: Answering) -> APIRouter:
    made = APIRouter(tags=["generation"])

    @made.post("/v1/chat/completions", response_class=Response, responses=answers({**_JSON, **_STREAM}))
    async def chat_completions(request: Request, asked: ChatRequest) -> Response:
        """Answer a conversation, through the model's own chat template."""
        return await answering(request, asked)

    @made.post("/v1/completions", response_class=Response, responses=answers({**_JSON, **_STREAM}))
    async def completions(request: Request, asked: CompletionRequest) -> Response:
        """Continue a text."""
        return await answering(request, asked)

    return made
