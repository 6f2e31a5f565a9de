"""What the OpenAPI document says of answers."""

from __future__ import annotations

from typing import Any

from deploy.gateway.contract import ErrorAnswer

_TOLD = {
    400: "The request is wrong; the message says where",
    401: "No valid API key",
    403: "Asked by a name that is not this machine's, and there are no keys",
    404: "No such model",
    413: "The request is too large",
    429: "Too many requests; Retry-After says when to ask again",
    502: "The engine failed",
    503: "No engine is ready, or too many requests wait; Retry-After says when to ask again",
    504: "The answer took too long",
}


def answers(content: dict[str, Any]) -> dict[int | str, dict[str, Any]]:
    """FastAPI's ``responses``: what a good answer is, and all the ways to be refused."""
    refusals = {code: {"model": ErrorAnswer, "description": text} for code, text in _TOLD.items()}
    return {200: {"description": "The answer", "content": content}, **refusals}
