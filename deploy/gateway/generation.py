"""``/v1/chat/completions`` and ``/v1/completions``: one request, from the model's name to the end of the answer."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import Any, TypeVar

import anyio
import httpx
from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse, Response, StreamingResponse
from starlette.types import Receive, Scope, Send

from deploy.gateway.bodies import BoundedRoute
from deploy.gateway.catalog import Version
from deploy.gateway.engine_process import EngineProcess
from deploy.gateway.errors import ApiError, documented_responses
from deploy.gateway.feedback import Recorder
from deploy.gateway.metrics import Metrics
from deploy.gateway.model_router import ModelRouter, require_kind
from deploy.gateway.model_server import ModelServer
from deploy.gateway.prompt import MeterStopped
from deploy.gateway.schemas import ChatRequest, CompletionRequest
from deploy.gateway.settings import Limits
from deploy.gateway.streaming import (
    DONE,
    AnswerHead,
    BrokenStream,
    Shape,
    Usage,
    complete_answer,
    events,
    pieces,
    sse,
)  # fmt: skip

log = logging.getLogger(__name__)
T = TypeVar("T")
TextRequest = ChatRequest | CompletionRequest
_DOCUMENTED = documented_responses(
    {"application/json": {"schema": {"type": "object"}}, "text/event-stream": {"schema": {"type": "string"}}}
)


def routes(generate: Generation) -> APIRouter:
    router = APIRouter(tags=["generation"], route_class=BoundedRoute)

    @router.post("/v1/chat/completions", response_class=Response, responses=_DOCUMENTED)
    async def chat_completions(request: Request, body: ChatRequest) -> Response:
        """Answer a conversation, through the model's own chat template."""
        return await generate(request, body)

    @router.post("/v1/completions", response_class=Response, responses=_DOCUMENTED)
    async def completions(request: Request, body: CompletionRequest) -> Response:
        """Continue a text."""
        return await generate(request, body)

    return router


class ClientDisconnected(Exception):
    """The client has closed the connection before its answer was complete."""


@dataclass
class OpenAnswer:
    """An engine that has begun to answer, and what is to be closed at the end of it."""

    server: ModelServer
    engine: EngineProcess
    response: httpx.Response
    usage: Usage
    stack: AsyncExitStack


@dataclass
class Generation:
    """Answers requests for text with the models of a gateway."""

    models: ModelRouter
    metrics: Metrics
    limits: Limits
    recorder: Recorder

    async def __call__(self, request: Request, body: TextRequest) -> Response:
        """The answer, streamed where the request says so.

        Raises:
            ApiError: there is none; the message says why.
        """
        began = time.monotonic()
        deadline = asyncio.get_running_loop().time() + self.limits.seconds
        chat = isinstance(body, ChatRequest)
        shape: Shape = "chat.completion" if chat else "text_completion"
        id = f"{'chatcmpl' if chat else 'cmpl'}-{uuid.uuid4().hex}"
        kept = self.recorder.wanted(body)
        try:
            async with asyncio.timeout_at(deadline):
                opened = await until_disconnect(request, self._open(body, id, key_of(request)))
        except TimeoutError:
            raise self._late() from None
        engine, stops = opened.engine, ([] if opened.engine.backend.native else body.stops)
        head = AnswerHead(id, int(time.time()), engine.version.name, engine.version.digest)
        parts = pieces(events(opened.response), shape, head, opened.usage, stops)
        measured = self._measured(parts, opened, began, bool(stops))
        if kept and isinstance(body, ChatRequest):
            measured = self.recorder.recorded(measured, body, id, key_of(request), engine.version)
        headers = {**version_headers(engine), "x-request-id": id}
        if body.stream:
            with_usage = body.stream_options is not None and body.stream_options.include_usage
            return EventStream(
                self._as_events(measured, opened, deadline, head, shape, with_usage), opened.stack, headers
            )
        try:
            async with opened.stack, asyncio.timeout_at(deadline):
                answer = await until_disconnect(request, complete_answer(measured, shape, head, opened.usage))
                return JSONResponse(answer, headers=headers)
        except TimeoutError:
            raise self._late() from None
        except BrokenStream as broken:
            raise self._broken(broken, engine) from None

    async def text(self, body: ChatRequest, key: str) -> tuple[Version, str]:
        """A whole answer as text, and the version that gave it.

        Raises:
            ApiError: there is none; the message does not say whose it would have been.
        """
        began, id = time.monotonic(), f"chatcmpl-{uuid.uuid4().hex}"
        try:
            async with asyncio.timeout(self.limits.seconds):
                opened = await self._open(body, id, key)
                engine = opened.engine
                async with opened.stack:
                    head = AnswerHead(id, int(time.time()), engine.version.name, engine.version.digest)
                    parts = pieces(events(opened.response), "chat.completion", head, opened.usage, [])
                    measured = self._measured(parts, opened, began, False)
                    answer = await complete_answer(measured, "chat.completion", head, opened.usage)
        except TimeoutError:
            raise self._late() from None
        except BrokenStream as broken:
            raise self._broken(broken, engine) from None
        return engine.version, answer["choices"][0]["message"]["content"] or ""

    async def _open(self, request: TextRequest, id: str, key: str) -> OpenAnswer:
        server = self.models.find(request.model)
        first, tokens = await self._measure(server, request, key)
        async with AsyncExitStack() as stack:
            engine = await stack.enter_async_context(server.lease(key))
            if engine is not first:  # a switch came between
                require_kind(server, "generator")
                tokens = await engine.prompts.measure(request, self.limits.tokens, key)
            body = engine.backend.body(engine.model, request, tokens[1])
            path = "/v1/chat/completions" if isinstance(request, ChatRequest) else "/v1/completions"
            try:
                if request.seed is not None:
                    await engine.finish_abandoned()
                response = await engine.client.send(engine.request(path, body, {"x-request-id": id}), stream=True)
                stack.push_async_callback(response.aclose)
                if response.status_code != 200:
                    await response.aread()
            except httpx.TransportError:
                raise engine_ended() from None
            if response.status_code != 200:
                raise engine_refusal(response)
            return OpenAnswer(server, engine, response, Usage(tokens[0]), stack.pop_all())

    async def _measure(
        self, server: ModelServer, request: TextRequest, key: str
    ) -> tuple[EngineProcess, tuple[int, int]]:
        """The engine that answers now; and the tokens of the prompt, and the most of the answer."""
        while True:
            engine = await server.ready()
            require_kind(server, "generator")
            with contextlib.suppress(MeterStopped):  # a switch came between
                return engine, await engine.prompts.measure(request, self.limits.tokens, key)

    async def _measured(
        self, parts: AsyncIterator[dict[str, Any]], opened: OpenAnswer, began: float, cut: bool
    ) -> AsyncIterator[dict[str, Any]]:
        """The pieces; counts their tokens at the end, also of an answer that breaks off.

        Args:
            cut: the gateway may end the answer before the engine does.
        """
        reference, first = opened.server.reference, True
        opened.engine.abandoned = True  # unless it is read to its end
        try:
            async for piece in parts:
                if first:
                    self.metrics.first_piece.labels(reference).observe(time.monotonic() - began)
                    first = False
                yield piece
            opened.engine.abandoned = cut
        except BrokenStream as broken:
            self.metrics.broken.labels(reference).inc()
            log.warning("%s: %s %s", opened.engine.version.name, broken, broken.detail[:500])
            raise
        finally:
            self.metrics.tokens.labels(reference, "prompt").inc(opened.usage.prompt)
            self.metrics.tokens.labels(reference, "completion").inc(opened.usage.completion)

    async def _as_events(
        self,
        parts: AsyncIterator[dict[str, Any]],
        opened: OpenAnswer,
        deadline: float,
        head: AnswerHead,
        shape: Shape,
        with_usage: bool,
    ) -> AsyncIterator[bytes]:
        """The pieces as events; an error after the first byte is an event too, and no ``[DONE]`` follows."""
        try:
            async with asyncio.timeout_at(deadline):
                async for piece in parts:
                    yield sse(piece)
            if with_usage:
                fields = head.fields("chat.completion.chunk" if shape == "chat.completion" else shape)
                yield sse({**fields, "choices": [], "usage": opened.usage.as_dict()})
            yield DONE
        except TimeoutError:
            yield sse(self._late().body)
        except BrokenStream as broken:
            yield sse(self._broken(broken, opened.engine).body)

    @staticmethod
    def _broken(broken: BrokenStream, engine: EngineProcess) -> ApiError:
        if engine.alive:
            return ApiError(502, str(broken), "engine_failed")
        return ApiError(503, "the engine ended while it answered; try again", "engine_failed", retry_after=2)

    def _late(self) -> ApiError:
        message = f"the answer was not complete within {self.limits.seconds:g} s; ask for fewer tokens"
        return ApiError(504, message, "timeout")


class EventStream(StreamingResponse):
    """A stream that releases its engine however it ends, also where it never began."""

    def __init__(self, content: AsyncIterator[bytes], stack: AsyncExitStack, headers: dict[str, str]):
        super().__init__(content, headers={**headers, "cache-control": "no-cache", "x-accel-buffering": "no"},
                         media_type="text/event-stream")  # fmt: skip
        self._stack = stack

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await super().__call__(scope, receive, send)
        finally:
            with anyio.CancelScope(shield=True):
                await self._stack.aclose()


async def until_disconnect(request: Request, work: Awaitable[T]) -> T:
    """The work's result; the work is cancelled when the client closes the connection.

    Raises:
        ClientDisconnected: it did.
    """
    task = asyncio.ensure_future(work)
    gone = asyncio.create_task(_disconnect(request.receive))
    try:
        await asyncio.wait({task, gone}, return_when=asyncio.FIRST_COMPLETED)
        if not task.done():
            raise ClientDisconnected
        return task.result()
    finally:
        gone.cancel()
        if not task.done():
            task.cancel()
        await asyncio.gather(task, gone, return_exceptions=True)


async def _disconnect(receive: Callable[[], Awaitable[Any]]) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


def key_of(request: Request) -> str:
    """Whose request it is: the name of its API key, or nothing where it has none."""
    return request.scope.get("stemma.key") or ""


def version_headers(engine: EngineProcess) -> dict[str, str]:
    """Headers that name the version that answers."""
    return {"x-stemma-model": engine.version.name, "x-stemma-digest": engine.version.digest}


def engine_ended() -> ApiError:
    """The engine's process ended before it answered."""
    return ApiError(503, "the engine ended; it is being restarted", "engine_failed", retry_after=2)


def engine_refusal(response: httpx.Response) -> ApiError:
    """An engine's refusal: its own words where the request is at fault, else that it failed."""
    if response.status_code >= 500:
        return ApiError(502, "the engine failed to answer; the gateway's log names the engine's", "engine_failed")
    try:
        body = response.json()
        detail = body.get("detail") or body.get("message") or body.get("error")
        message = detail.get("message") if isinstance(detail, dict) else detail
    except (ValueError, AttributeError):
        message = None
    return ApiError(400, f"the engine refuses the request: {message or 'it gives no reason'}", "engine_refused")
