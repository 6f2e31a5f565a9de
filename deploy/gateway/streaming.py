"""An engine's stream of server-sent events, made into the gateway's answer: streamed or whole.

The answer names the version that gave it, ends before a stop text, and has its tokens counted.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any, Literal

import httpx

Shape = Literal["chat.completion", "text_completion"]
DONE = b"data: [DONE]\n\n"
_COLLECTED = ("role", "content", "tool_calls")


class BrokenStream(Exception):
    """The engine ended its answer by an error, or without an end; the message is for the client.

    Args:
        detail: the engine's own words, for the log.
    """

    def __init__(self, message: str, detail: str = ""):
        super().__init__(message)
        self.detail = detail


@dataclass
class Usage:
    """Tokens of one request."""

    prompt: int
    completion: int = 0

    def as_dict(self) -> dict[str, int]:
        total = self.prompt + self.completion
        return {"prompt_tokens": self.prompt, "completion_tokens": self.completion, "total_tokens": total}


@dataclass(frozen=True)
class AnswerHead:
    """The fields at the head of every piece of one answer."""

    id: str
    created: int
    version: str
    digest: str

    def fields(self, shape: str) -> dict[str, Any]:
        return {"id": self.id, "object": shape, "created": self.created, "model": self.version,
                "system_fingerprint": self.digest}  # fmt: skip


class StopFilter:
    """Lets text through up to the first stop; what may be the start of one is kept back until more is known."""

    def __init__(self, stops: list[str]):
        self._stops = stops
        self._held = ""
        self.stopped = False

    def feed(self, piece: str) -> str:
        """What may be shown now that ``piece`` has arrived."""
        if self.stopped:
            return ""
        text = self._held + piece
        places = [place for stop in self._stops if (place := text.find(stop)) >= 0]
        if places:
            self.stopped, self._held = True, ""
            return text[: min(places)]
        keep = max((_overlap(text, stop) for stop in self._stops), default=0)
        self._held = text[len(text) - keep :]
        return text[: len(text) - keep]

    def flush(self) -> str:
        """What was kept back, once nothing more comes."""
        held, self._held = self._held, ""
        return held


def _overlap(text: str, stop: str) -> int:
    """Characters at the end of ``text`` that ``stop`` starts with."""
    return next((size for size in range(min(len(stop) - 1, len(text)), 0, -1) if text.endswith(stop[:size])), 0)


async def events(answer: httpx.Response) -> AsyncIterator[dict[str, Any]]:
    """The engine's events, parsed, until it says that it is done.

    Raises:
        BrokenStream: it sent an error or invalid JSON, or broke off.
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
                raise BrokenStream("the engine failed while it answered", text) from None
            if "error" in event:
                raise BrokenStream("the engine failed while it answered", text)
            yield event
    except httpx.TransportError:
        raise BrokenStream("the engine ended while it answered; try again") from None


async def pieces(
    engine: AsyncIterator[dict[str, Any]], shape: Shape, head: AnswerHead, usage: Usage, stops: list[str]
) -> AsyncIterator[dict[str, Any]]:
    """The engine's events as chunks of the gateway's answer, one choice each; ``usage`` is filled in on the way.

    Args:
        stops: what to end the answers before, where the engine does not do it.

    Raises:
        BrokenStream: the engine failed, or a choice has no end.
    """
    fields = head.fields("chat.completion.chunk" if shape == "chat.completion" else shape)
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
                yield {**fields, "choices": [body]}
        if event.get("usage"):
            usage.prompt = event["usage"].get("prompt_tokens") or usage.prompt
            usage.completion = event["usage"].get("completion_tokens") or 0
        if any(cut.stopped for cut in filters.values()) and all(ended.values()):
            return  # the engine goes on; closing its answer ends that
    if not ended or not all(ended.values()):
        raise BrokenStream("the engine ended while it answered; try again")


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


async def complete_answer(
    pieces: AsyncIterator[dict[str, Any]], shape: Shape, head: AnswerHead, usage: Usage
) -> dict[str, Any]:
    """The answer that the pieces make, in the shape of an answer that was never streamed."""
    choices: dict[int, dict[str, Any]] = {}
    async for piece in pieces:
        for part in piece["choices"]:
            made = choices.setdefault(part["index"], {"text": "", "other": {}, "calls": {}, "finish_reason": None})
            delta = part.get("delta") or {}
            made["text"] += (delta.get("content") or "") if shape == "chat.completion" else part["text"]
            for call in delta.get("tool_calls") or ():
                _add_call(made["calls"], call)
            for field, value in delta.items():
                if field not in _COLLECTED and isinstance(value, str):  # such as reasoning_content
                    made["other"][field] = made["other"].get(field, "") + value
            made["finish_reason"] = part["finish_reason"] or made["finish_reason"]
    answers = [_choice(index, made, shape) for index, made in sorted(choices.items())]
    return {**head.fields(shape), "choices": answers, "usage": usage.as_dict()}


def _add_call(calls: dict[int, dict[str, Any]], piece: dict[str, Any]) -> None:
    """A tool call's arguments may come in pieces; its name and id come once."""
    function = piece.get("function") or {}
    call = calls.setdefault(
        piece.get("index", 0), {"id": None, "type": "function", "function": {"name": None, "arguments": ""}}
    )
    call["id"] = piece.get("id") or call["id"]
    call["function"]["name"] = function.get("name") or call["function"]["name"]
    call["function"]["arguments"] += function.get("arguments") or ""


def _choice(index: int, made: dict[str, Any], shape: Shape) -> dict[str, Any]:
    ends = {"index": index, "logprobs": None, "finish_reason": made["finish_reason"]}
    if shape == "text_completion":
        return {**ends, "text": made["text"]}
    calls = [call for _, call in sorted(made["calls"].items())]
    message = {"role": "assistant", "content": made["text"] if made["text"] or not calls else None, **made["other"]}
    return {**ends, "message": {**message, **({"tool_calls": calls} if calls else {})}}
