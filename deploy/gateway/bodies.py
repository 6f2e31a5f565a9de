"""Bodies of requests: refused before they are parsed where that would hold up all others.

Parsing holds Python's lock from beginning to end, in whatever thread it runs, and what it costs grows with the number
of values and hardly with their length: 4 MB of one text take 20 ms, 4 MB of lists in each other most of a second.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Coroutine
from typing import Any

from fastapi import Request, Response
from fastapi.routing import APIRoute
from pydantic import BaseModel, ConfigDict, field_validator
from starlette.exceptions import HTTPException

MOST_SIGNS = 200_000  # 10,000 messages of one text have half of them; so many are parsed in 0.2 s at most
# Commas, colons and opening brackets outside of texts, and the texts; nothing is looked at twice.
_SIGN = rb'[^",:\[{]*+(?:"(?:[^"\\]++|\\.)*+"|[,:\[{])'
_TOO_MANY = re.compile(rb"(?:%s){%d}+" % (_SIGN, MOST_SIGNS + 1), re.DOTALL)


def has_too_many_values(body: bytes) -> bool:
    """Whether a JSON text has so many values that parsing it would take long."""
    return len(body) > MOST_SIGNS and _TOO_MANY.match(body) is not None


class _Bounded(Request):
    async def json(self) -> Any:
        if has_too_many_values(await self.body()):
            raise HTTPException(400, "the body has too many values in its lists and objects; send fewer")
        return await super().json()


class BoundedRoute(APIRoute):
    """A route that refuses such bodies."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        handler = super().get_route_handler()

        async def bounded(request: Request) -> Response:
            return await handler(_Bounded(request.scope, request.receive))

        return bounded


class TextBody(BaseModel):
    """A body of texts that can be written anywhere; it has no field that is not named."""

    model_config = ConfigDict(extra="forbid")

    @field_validator("*")
    @classmethod
    def _is_text(cls, value: Any) -> Any:
        try:
            str(value).encode()
        except UnicodeEncodeError:
            raise ValueError("it contains half of a surrogate pair, which is not a character") from None
        return value
