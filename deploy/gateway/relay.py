"""An engine's stream of server-sent events as the gateway's: true names, clean ends, tokens counted."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any, Literal

import httpx

from deploy.gateway.stops import StopFilter

Shape = Literal["chat.completion", "text_completion"]


class StreamBroken(Exception):
    """The engine ended its answer by an error, or without an end; the message is for the client.

    Args:
        said: the engine's own words, for the log.
    """

    def __init__(self, message: str, said: str = ""):
        super().__init__(message)
        self.said = said


@dataclass
class Usage:
    """Tokens of one request."""

    prompt: int
    completion: int = 0

    def as_dict(self) -> dict[str, int]:
        total = self.prompt + self.completion
        return {"prompt_tokens": self.prompt, "completion_tokens": self.completion, "total_tokens": total}


@dataclass(frozen=True)
class Name:
    """What stands at the head of every piece of one answer."""

    id: str
    created: int
    version: str
    digest: str

    def head(self, shape: str) -> dict[str, Any]:
        return {"id": self.id, "object": shape, "created": self.created, "model": self.version,
                "system_fingerprint": self.digest}  # fmt: skip


async def events(answer: httpx.Response) -> AsyncIterator[dict[str, Any]]:
    """The engine's events, parsed, until it says that it is done.

    Raises:
        StreamBroken: it told of an error, sent what is no JSON, or broke off.
    """
    try:
        async for line in answer.aiter_lines():
            if not line.startswith("data:"):
                continue
            text = line[5:].strip()
            if text == "[DONE]":
                return
            try:
                event = json.loads(text)
            except ValueError:
                # `transformers serve` quotes its error messages without escaping them
                raise StreamBroken("the engine failed while it answered", text) from None
            if "error" in event:
                raise StreamBroken("the engine failed while it answered", text)
            yield event
    except httpx.TransportError:
        raise StreamBroken("the engine ended while it answered; ask again") from None


async def pieces(
    engine: AsyncIterator[dict[str, Any]], shape: Shape, name: Name, usage: Usage, stops: list[str]
) -> AsyncIterator[dict[str, Any]]:
    """The engine's events as chunks of the gateway's answer, one choice each; ``usage`` is filled in on the way.

    Args:
        stops: what to end the answers before, where the engine does not do it.

    Raises:
        StreamBroken: the engine failed, or a choice has no end.
    """
    head = name.head("chat.completion.chunk" if shape == "chat.completion" else shape)
    filters: dict[int, StopFilter] = {}
    ended: dict[int, bool] = {}
    async for event in engine:
        for choice in event.get("choices") or ():
            index = choice.get("index", 0)
            if ended.setdefault(index, False):
                continue
            cut = filters.setdefault(index, StopFilter(stops))
            finish = choice.get("finish_reason")
            shown = _shown(choice, shape, cut, last=finish is not None)
            if cut.stopped:
                finish = "stop"
            usage.completion += finish is None and "role" not in shown  # a piece is a token or a few
            ended[index] = finish is not None
            if shown or finish is not None:
                body = {"index": index, **_payload(shape, shown), "logprobs": None, "finish_reason": finish}
                yield {**head, "choices": [body]}
        if event.get("usage"):
            usage.prompt = event["usage"].get("prompt_tokens") or usage.prompt
            usage.completion = event["usage"].get("completion_tokens") or 0
        if any(cut.stopped for cut in filters.values()) and all(ended.values()):
            return  # the engine goes on; closing its answer ends that
    if not ended or not all(ended.values()):
        raise StreamBroken("the engine ended while it answered; ask again")


def _shown(choice: dict[str, Any], shape: Shape, cut: StopFilter, *, last: bool) -> dict[str, Any]:
    """The fields of a piece that have something to say, cut at the stops."""
    fields = dict(choice.get("delta") or {}) if shape == "chat.completion" else {"text": choice.get("text") or ""}
    key = "content" if shape == "chat.completion" else "text"
    said = cut.feed(fields.pop(key, None) or "")
    if last:
        said += cut.flush()
    fields = {name: value for name, value in fields.items() if value is not None}
    return {**fields, **({key: said} if said else {})}


def _payload(shape: Shape, shown: dict[str, Any]) -> dict[str, Any]:
    if shape == "chat.completion":
        return {"delta": {"content": "", **shown} if "role" in shown else shown}
    return {"text": shown.get("text", "")}


def sse(body: dict[str, Any]) -> bytes:
    """One server-sent event."""
    return b"data: " + json.dumps(body).encode() + b"\n\n"


DONE = b"data: [DONE]\n\n"
