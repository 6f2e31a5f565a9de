"""Who may use a service on loopback: not the page of another site, not another account without the token."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import json
import os

import httpx
import pytest

from deploy.stack import guard
from deploy.stack.guard import Guard, guarded

TOKEN, BROWSER, HOST = "t" * 43, "b" * 43, "127.0.0.1:4200"


async def application(scope, receive, send):
    """Answers with the credential that reached it."""
    if scope["type"] == "websocket":
        assert (await receive())["type"] == "websocket.connect"
        await send({"type": "websocket.accept"})
        await send({"type": "websocket.send", "text": "before"})
        while (message := await receive())["type"] != "websocket.disconnect":
            await send({"type": "websocket.send", "text": message["text"]})
        return
    shown = dict(scope["headers"]).get(b"authorization", b"nothing")
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": shown})


def ask(method: str = "GET", path: str = "/api/flows", refuse: bool = True, **headers: str) -> httpx.Response:
    async def send() -> httpx.Response:
        app = Guard(application, TOKEN, BROWSER, [HOST, "localhost:4200"], refuse=refuse)
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app=app), base_url=f"http://{HOST}") as client:
            return await client.request(method, path, headers={**{"host": HOST}, **headers})

    return asyncio.run(send())


def basic(name: str, password: str) -> str:
    return f"Basic {base64.b64encode(f'{name}:{password}'.encode()).decode()}"


NAME = f"stemma-{hashlib.sha256(BROWSER.encode()).hexdigest()[:8]}"
COOKIE = f"other=1; {NAME}={BROWSER}"


@pytest.mark.parametrize("shown", [
    {"authorization": f"Bearer {TOKEN}"}, {"authorization": basic("anybody", TOKEN)}, {"cookie": COOKIE},
    {"cookie": COOKIE, "origin": f"http://{HOST}"}, {"cookie": COOKIE, "host": "localhost:4200"},
])  # fmt: skip
def test_its_own_pages_and_clients_pass(shown):
    assert ask("POST", **shown).status_code == 200


@pytest.mark.parametrize("path", ["/api/flows", "/", "/health"])
@pytest.mark.parametrize("strange", [
    {"origin": "https://evil.example"}, {"origin": "null"}, {"origin": "http://127.0.0.1:9999"},
    {"host": "evil.example"}, {"host": "evil.example:4200"}, {"host": "127.0.0.1:4201"}, {"host": ""},
])  # fmt: skip
def test_another_sites_page_is_refused_even_with_the_cookie_that_a_browser_adds(strange, path):
    assert ask("POST", path, **{"cookie": COOKIE, **strange}).status_code == 403
    assert ask("GET", path, False, **{"cookie": COOKIE, **strange}).status_code == 403


@pytest.mark.parametrize("shown", [
    {}, {"authorization": f"Bearer {TOKEN}x"}, {"authorization": "Bearer "}, {"authorization": basic("stemma", "no")},
    {"authorization": "Basic ***"}, {"cookie": f"stemma-1={BROWSER}"},
    {"cookie": f"{NAME}="}, {"cookie": f"{NAME}={TOKEN}"}, {"authorization": f"Bearer {BROWSER}"},
])  # fmt: skip
def test_another_account_without_the_token_is_refused(shown):
    refusal = ask("POST", **shown)
    assert refusal.status_code == 401 and "stemma status" in refusal.text
    assert ask("GET", "/", **shown).status_code == 401


def test_whether_it_is_well_anybody_may_ask_and_change_nothing_by_it():
    for path in ("/health", "/api/health", "/api/ready"):
        assert ask("GET", path).status_code == 200 and ask("POST", path).status_code == 401
        assert ask("GET", f"{path}/more").status_code == 401


def test_the_link_gives_a_cookie_that_only_this_sites_pages_send_and_leads_on_without_the_token():
    answer = ask("GET", f"/v2/runs?page=2&token={BROWSER}")
    assert (answer.status_code, answer.headers["location"]) == (303, "/v2/runs?page=2")
    cookie = answer.headers["set-cookie"]
    assert cookie.startswith(f"{NAME}={BROWSER};") and "HttpOnly" in cookie and "SameSite=Strict" in cookie
    assert ask("GET", "/?token=guess").status_code == 401
    assert ask("GET", f"http://{HOST}//evil.example/?token={BROWSER}").headers["location"] == "/evil.example/"
    assert ask("POST", f"/?token={BROWSER}").status_code == 401, "an address is written into histories and logs"


def test_before_an_application_with_keys_of_its_own_a_cookie_becomes_the_key():
    assert ask(refuse=False, cookie=COOKIE).text == f"Bearer {TOKEN}"
    assert ask(refuse=False).text == "nothing"
    assert ask(refuse=False, cookie=COOKIE, authorization="Bearer mine").text == "Bearer mine"


def _socket(headers: dict[str, str], subprotocols: list[str], *said: object) -> list[dict]:
    """What a client of a socket gets for what it says."""
    sent: list[dict] = []
    messages = [{"type": "websocket.connect"}]
    messages += [{"type": "websocket.receive", "text": json.dumps(each)} for each in said]
    messages += [{"type": "websocket.disconnect", "code": 1000}]

    async def receive() -> dict:
        return messages.pop(0)

    async def send(message: dict) -> None:
        sent.append(message)

    scope = {
        "type": "websocket", "path": "/api/events/in", "query_string": b"", "subprotocols": subprotocols,
        "headers": [(name.encode(), value.encode()) for name, value in {"host": HOST, **headers}.items()],
    }  # fmt: skip
    asyncio.run(Guard(application, TOKEN, BROWSER, [HOST])(scope, receive, send))
    return sent


def test_a_socket_is_opened_with_the_token_alone():
    by_header = _socket({"authorization": f"Bearer {TOKEN}"}, [], "hello")
    assert [each.get("text") for each in by_header] == [None, "before", '"hello"']
    by_message = _socket({}, ["prefect"], {"type": "auth", "token": f"stemma:{TOKEN}"})
    assert [each["type"] for each in by_message] == ["websocket.accept", "websocket.send"], "what came before is kept"
    assert TOKEN in by_message[-1]["text"]


@pytest.mark.parametrize(("headers", "subprotocols"), [({}, []), ({"origin": "https://evil.example"}, ["prefect"])])
def test_a_socket_is_refused_before_it_is_open(headers, subprotocols):
    assert [each["type"] for each in _socket(headers, subprotocols, "hello")] == ["websocket.close"]


@pytest.mark.parametrize("said", [{"type": "auth", "token": "stemma:guess"}, {"type": "auth"}, {"type": "x"}, [1], "x"])
def test_a_socket_whose_first_message_shows_another_token_is_closed_and_was_sent_nothing(said):
    assert [each["type"] for each in _socket({}, ["prefect"], said)] == ["websocket.accept", "websocket.close"]


def test_the_token_leaves_the_environment_and_without_one_there_is_no_guard(monkeypatch):
    monkeypatch.setenv(guard.TOKEN, TOKEN)
    monkeypatch.setenv(guard.BROWSER, BROWSER)
    monkeypatch.setenv(guard.HOSTS, HOST)
    assert isinstance(guarded(application), Guard)
    assert not {guard.TOKEN, guard.BROWSER} & set(os.environ) and guarded(application) is application
