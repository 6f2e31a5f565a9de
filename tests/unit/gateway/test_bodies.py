"""What would take long to parse is refused by a look at it; what is only long is not."""

from __future__ import annotations

import json

import pytest
from fastapi import APIRouter, FastAPI
from fastapi.testclient import TestClient

from deploy.gateway import errors
from deploy.gateway.bodies import BoundedRoute, has_too_many_values
from deploy.gateway.schemas import ChatRequest

MEBI = 1 << 20


@pytest.mark.parametrize(
    ("body", "refused"),
    [
        ('{"a": [' + ",".join(["[[[[]]]]"] * 400_000) + "]}", True),
        ("[" + ",".join(["1"] * 2 * MEBI) + "]", True),
        ("{" + ",".join(f'"{number}": 1' for number in range(200_000)) + "}", True),
        (json.dumps({"content": '[1, 2, {"a": "b"}]\\' * (MEBI // 6)}), False),  # signs within a text
        ('{"content": "' + "a" * 4 * MEBI, False),  # no JSON: for the parser to say
        (json.dumps({"messages": [{"role": "user", "content": "hello"}] * 10_000}), False),
    ],
)
def test_values_are_counted_and_not_bytes(body, refused):
    assert has_too_many_values(body.encode()) is refused


def test_such_a_body_gets_400_and_is_not_parsed():
    app, router = FastAPI(), APIRouter(route_class=BoundedRoute)
    errors.register(app)

    @router.post("/")
    async def answer(body: ChatRequest) -> int:
        return len(body.messages)

    app.include_router(router)
    with TestClient(app) as client:
        good = {"model": "base", "messages": [{"role": "user", "content": "hello"}]}
        assert client.post("/", json=good).json() == 1
        wide = '{"model": "base", "tools": [' + "1," * MEBI  # its end is missing: the parser would complain of that
        done = client.post("/", content=wide, headers={"content-type": "application/json"})
        assert done.status_code == 400 and "too many values" in done.json()["error"]["message"]
