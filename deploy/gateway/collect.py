"""A stream's pieces put together to one answer."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

from deploy.gateway.relay import Name, Shape, Usage

_WHOLE = ("role", "content", "tool_calls")


async def whole(pieces: AsyncIterator[dict[str, Any]], shape: Shape, name: Name, usage: Usage) -> dict[str, Any]:
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
                if field not in _WHOLE and isinstance(value, str):  # such as reasoning_content
                    made["other"][field] = made["other"].get(field, "") + value
            made["finish_reason"] = part["finish_reason"] or made["finish_reason"]
    answers = [_choice(index, made, shape) for index, made in sorted(choices.items())]
    return {**name.head(shape), "choices": answers, "usage": usage.as_dict()}


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
