"""One request for text, from the model's name to the last piece of the answer."""

from __future__ import annotations

import asyncio
import logging
import time
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import Any, TypeVar

import anyio
import httpx
from fastapi import Request
from fastapi.responses import JSONResponse, Response, StreamingResponse
from starlette.types import Receive, Scope, Send

from deploy.gateway import prompt
from deploy.gateway.collect import whole
from deploy.gateway.contract import ChatRequest, CompletionRequest
from deploy.gateway.engine import Running
from deploy.gateway.errors import ApiError
from deploy.gateway.fleet import Fleet, require_kind
from deploy.gateway.metrics import Metrics
from deploy.gateway.model_folder import ModelFolder
from deploy.gateway.relay import DONE, Name, Shape, StreamBroken, Usage, events, pieces, sse
from deploy.gateway.service import Service
from deploy.gateway.settings import Limits

log = logging.getLogger(__name__)
T = TypeVar("T")
Asked = ChatRequest | CompletionRequest


class ClientGone(Exception):
    """Whoever asked has hung up; nobody reads an answer."""


@dataclass
class Opened:
    """An engine that has begun to answer, and what is to be closed at the end of it."""

    service: Service
    running: Running
    answer: httpx.Response
    usage: Usage
    stack: AsyncExitStack


@dataclass
class Answering:
    """Answers requests with the models of a fleet."""

    fleet: Fleet
    metrics: Metrics
    limits: Limits

    async def __call__(self, request: Request, asked: Asked) -> Response:
        """The answer, streamed where the request says so.

        Raises:
            ApiError: there is none, and why.
        """
        began = time.monotonic()
        deadline = asyncio.get_running_loop().time() + self.limits.seconds
        chat = isinstance(asked, ChatRequest)
        shape: Shape = "chat.completion" if chat else "text_completion"
        id = f"{'chatcmpl' if chat else 'cmpl'}-{uuid.uuid4().hex}"
        try:
            async with asyncio.timeout_at(deadline):
                opened = await unless_gone(request, self._open(asked, id))
        except TimeoutError:
            raise self._late() from None
        running, stops = opened.running, ([] if opened.running.engine.native else asked.stops)
        name = Name(id, int(time.time()), running.version.name, running.version.digest)
        made = self._timed(pieces(events(opened.answer), shape, name, opened.usage, stops), opened, began, bool(stops))
        headers = {**version_headers(running), "x-request-id": id}
        if asked.stream:
            with_usage = asked.stream_options is not None and asked.stream_options.include_usage
            told = self._told(made, opened, deadline, name, shape, with_usage)
            return Streamed(told, opened.stack, headers)
        try:
            async with opened.stack, asyncio.timeout_at(deadline):
                return JSONResponse(await unless_gone(request, whole(made, shape, name, opened.usage)), headers=headers)
        except TimeoutError:
            raise self._late() from None
        except StreamBroken as broken:
            raise self._broken(broken, running) from None

    async def _open(self, asked: Asked, id: str) -> Opened:
        service = self.fleet.find(asked.model)
        first = await service.ready()
        require_kind(service, "generator")
        tokens = await asyncio.to_thread(self._measure, first.model, asked)
        async with AsyncExitStack() as stack:
            running = await stack.enter_async_context(service.lease())
            if running is not first:  # a switch came between
                require_kind(service, "generator")
                tokens = await asyncio.to_thread(self._measure, running.model, asked)
            body = running.engine.body(running.model, asked, tokens[1])
            path = "/v1/chat/completions" if isinstance(asked, ChatRequest) else "/v1/completions"
            try:
                if asked.seed is not None:
                    await running.settle()
                answer = await running.client.send(running.request(path, body, {"x-request-id": id}), stream=True)
                stack.push_async_callback(answer.aclose)
                if answer.status_code != 200:
                    await answer.aread()
            except httpx.TransportError:
                raise ApiError(503, "the engine ended; it is being restarted", "engine_failed", retry_after=2) from None
            if answer.status_code != 200:
                raise refused(answer)
            return Opened(service, running, answer, Usage(tokens[0]), stack.pop_all())

    def _measure(self, model: ModelFolder, asked: Asked) -> tuple[int, int]:
        """(tokens of the prompt, tokens that the answer may have)."""
        if isinstance(asked, CompletionRequest):
            text, special, param = asked.text, True, "prompt"
        else:
            tools = [tool.model_dump(exclude_none=True) for tool in asked.tools or ()]
            if tools and not model.takes_tools:
                raise ApiError(
                    400, "tools: this model's chat template takes none", "unsupported_parameter", param="tools"
                )
            shown = tools if tools and asked.tool_choice != "none" else None
            text = prompt.chat_text(model, [message.for_template() for message in asked.messages], shown)
            special, param = False, "messages"
        return prompt.room(
            model, text, special=special, wanted=asked.wanted, most=self.limits.tokens, param=param
        )  # fmt: skip

    async def _timed(
        self, made: AsyncIterator[dict[str, Any]], opened: Opened, began: float, cut: bool
    ) -> AsyncIterator[dict[str, Any]]:
        """The pieces; counts their tokens when they end, however they do. ``cut``: maybe before the engine does."""
        reference, first = opened.service.reference, True
        opened.running.broken_off = True  # unless it is read to its end
        try:
            async for piece in made:
                if first:
                    self.metrics.first_piece.labels(reference).observe(time.monotonic() - began)
                    first = False
                yield piece
            opened.running.broken_off = cut
        except StreamBroken as broken:
            self.metrics.broken.labels(reference).inc()
            log.warning("%s: %s %s", opened.running.version.name, broken, broken.said[:500])
            raise
        finally:
            self.metrics.tokens.labels(reference, "prompt").inc(opened.usage.prompt)
            self.metrics.tokens.labels(reference, "completion").inc(opened.usage.completion)

    async def _told(
        self,
        made: AsyncIterator[dict[str, Any]],
        opened: Opened,
        deadline: float,
        name: Name,
        shape: Shape,
        with_usage: bool,
    ) -> AsyncIterator[bytes]:
        """The pieces as events; what goes wrong after the first byte is an event too, and no ``[DONE]`` follows."""
        try:
            async with asyncio.timeout_at(deadline):
                async for piece in made:
                    yield sse(piece)
            if with_usage:
                head = name.head("chat.completion.chunk" if shape == "chat.completion" else shape)
                yield sse({**head, "choices": [], "usage": opened.usage.as_dict()})
            yield DONE
        except TimeoutError:
            yield sse(self._late().body)
        except StreamBroken as broken:
            yield sse(self._broken(broken, opened.running).body)

    @staticmethod
    def _broken(broken: StreamBroken, running: Running) -> ApiError:
        if running.alive:
            return ApiError(502, str(broken), "engine_failed")
        return ApiError(503, "the engine ended while it answered; ask again", "engine_failed", retry_after=2)

    def _late(self) -> ApiError:
        return ApiError(504, f"no whole answer within {self.limits.seconds:g} s; ask for fewer tokens", "timeout")


class Streamed(StreamingResponse):
    """A stream that gives its engine back however it ends, also where it never began."""

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


async def unless_gone(request: Request, work: Awaitable[T]) -> T:
    """The work's result; the work is cancelled when the client hangs up.

    Raises:
        ClientGone: it did.
    """
    task = asyncio.ensure_future(work)
    gone = asyncio.create_task(_hung_up(request.receive))
    try:
        await asyncio.wait({task, gone}, return_when=asyncio.FIRST_COMPLETED)
        if not task.done():
            raise ClientGone
        return task.result()
    finally:
        gone.cancel()
        if not task.done():
            task.cancel()
        await asyncio.gather(task, gone, return_exceptions=True)


async def _hung_up(receive: Callable[[], Awaitable[Any]]) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


def version_headers(running: Running) -> dict[str, str]:
    """Which version answers."""
    return {"x-stemma-model": running.version.name, "x-stemma-digest": running.version.digest}


def refused(answer: httpx.Response) -> ApiError:
    """An engine's refusal: its own words where the request is at fault, else that it failed."""
    if answer.status_code >= 500:
        return ApiError(502, "the engine failed to answer; the gateway's log names its log", "engine_failed")
    try:
        body = answer.json()
        told = body.get("detail") or body.get("message") or body.get("error")
        message = told.get("message") if isinstance(told, dict) else told
    except (ValueError, AttributeError):
        message = None
    return ApiError(400, f"the engine refuses the request: {message or 'it does not say why'}", "engine_refused")
