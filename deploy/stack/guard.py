"""Who may use a service on loopback: a middleware around Prefect's, MLflow's and the gateway's applications.

Loopback keeps other machines away, but neither the pages of a browser on this one nor its other accounts. So every
request must name the service as its own pages do (``Host`` and, where a browser sends one, ``Origin``: 403 otherwise),
and show a token (401 otherwise): the service's own in ``Authorization``, as ``Bearer TOKEN`` or as the password of
``Basic``; or the browser's, in the cookie that is the answer to a link with ``?token=TOKEN``. Prefect's clients show
the service's in the first message of a socket, where the socket's opening request does not.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import json
import os
from collections.abc import Awaitable, Callable, Iterable, MutableMapping
from typing import Any
from urllib.parse import parse_qsl, quote, urlencode, urlsplit

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

# Of a service's own environment.
TOKEN, BROWSER, HOSTS = "STEMMA_SERVICE_TOKEN", "STEMMA_BROWSER_TOKEN", "STEMMA_SERVICE_HOSTS"
OPEN = frozenset({"/health", "/api/health", "/api/ready"})  # whether it is well, and nothing else
_REFUSED_SOCKET = 1008  # RFC 6455, 7.4.1: against a policy
_FOREIGN = "This service answers its own pages and clients only; STEMMA_ALLOWED_HOSTS names further hosts."
_NO_TOKEN = "Show the token of this service: open its link, which `stemma status` shows on a terminal."


def guarded(app: App, *, refuse: bool = True) -> App:
    """The application behind a guard, where this process was given a token; else the application itself.

    The tokens leave the environment, so that no child of this process has them.
    """
    token, browser, hosts = (os.environ.pop(name, "") for name in (TOKEN, BROWSER, HOSTS))
    return Guard(app, token, browser, hosts.split(","), refuse=refuse) if token else app


class Guard:
    """The middleware.

    Args:
        token: the service's.
        browser: that of browsers, the same for all services of a stack.
        hosts: ``host:port`` by which the service is called.
        refuse: whether requests without a token are refused here; else they go on as they came, to an application
            that asks for keys by itself, and those with the cookie with the service's token as their key.
    """

    def __init__(self, app: App, token: str, browser: str, hosts: Iterable[str], *, refuse: bool = True):
        self._app, self._token, self._browser, self._refuse = app, token, browser, refuse
        # Several stacks of one host share a browser's cookies, so that the name says whose it is.
        self._cookie = f"stemma-{hashlib.sha256(browser.encode()).hexdigest()[:8]}"
        self._hosts = frozenset(host.strip().lower() for host in hosts if host.strip())

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] not in ("http", "websocket"):
            await self._app(scope, receive, send)
            return
        headers = {name: value.decode("latin-1") for name, value in scope["headers"]}
        if not self._own(headers):
            await _answer(scope, receive, send, 403, _FOREIGN)
            return
        if self._shown_in_link(scope):
            await self._give_cookie(scope, send)
            return
        if scope["type"] == "http" and scope["path"] in OPEN and scope["method"] in ("GET", "HEAD"):
            await self._app(scope, receive, send)
        elif not self._refuse:
            key = (b"authorization", f"Bearer {self._token}".encode())
            added = [key] if b"authorization" not in headers and self._in_cookie(headers) else []
            await self._app({**scope, "headers": [*scope["headers"], *added]}, receive, send)
        elif self._in_header(headers) or self._in_cookie(headers):
            await self._app(scope, receive, send)
        elif scope["type"] == "websocket" and "prefect" in scope.get("subprotocols", ()):
            await self._app(scope, *self._until_shown(receive, send))
        else:
            await _answer(scope, receive, send, 401, _NO_TOKEN)

    def _own(self, headers: dict[bytes, str]) -> bool:
        """Whether neither the name that it is called by nor the page that calls it is somebody else's."""
        if headers.get(b"host", "").lower() not in self._hosts:
            return False
        origin = headers.get(b"origin")
        return origin is None or urlsplit(origin).netloc.lower() in self._hosts

    def _in_header(self, headers: dict[bytes, str]) -> bool:
        kind, _, shown = headers.get(b"authorization", "").partition(" ")
        if kind.lower() == "bearer":
            return _same(shown.strip(), self._token)
        if kind.lower() == "basic":
            try:
                return _same(base64.b64decode(shown.strip()).decode().partition(":")[2], self._token)
            except (binascii.Error, UnicodeDecodeError):
                return False
        return False

    def _in_cookie(self, headers: dict[bytes, str]) -> bool:
        pairs = (part.strip().partition("=") for part in headers.get(b"cookie", "").split(";"))
        return any(name == self._cookie and _same(value, self._browser) for name, _, value in pairs)

    def _shown_in_link(self, scope: Scope) -> bool:
        if scope["type"] != "http" or scope["method"] != "GET" or b"token=" not in scope.get("query_string", b""):
            return False
        return any(name == "token" and _same(value, self._browser) for name, value in _query(scope))

    async def _give_cookie(self, scope: Scope, send: Send) -> None:
        left = urlencode([(name, value) for name, value in _query(scope) if name != "token"])
        where = "/" + quote(scope["path"].lstrip("/")) + (f"?{left}" if left else "")  # never another host's
        cookie = f"{self._cookie}={self._browser}; Path=/; HttpOnly; SameSite=Strict"
        said = [("location", where), ("set-cookie", cookie), ("cache-control", "no-store"),
                ("referrer-policy", "no-referrer"), ("content-length", "0")]  # fmt: skip
        shown = [(name.encode(), value.encode("latin-1")) for name, value in said]
        await send({"type": "http.response.start", "status": 303, "headers": shown})
        await send({"type": "http.response.body", "body": b""})

    def _until_shown(self, receive: Receive, send: Send) -> tuple[Receive, Send]:
        """A socket whose first message must be ``{"type": "auth", "token": "NAME:TOKEN"}``; nothing is sent before."""
        passed = False

        async def first_checked() -> Message:
            nonlocal passed
            message = await receive()
            if passed or message["type"] != "websocket.receive":
                return message
            passed = self._in_message(message)
            if passed:
                return message
            await send({"type": "websocket.close", "code": _REFUSED_SOCKET, "reason": "Invalid token"})
            return {"type": "websocket.disconnect", "code": _REFUSED_SOCKET}

        async def withheld(message: Message) -> None:
            if passed or message["type"] != "websocket.send":
                await send(message)

        return first_checked, withheld

    def _in_message(self, message: Message) -> bool:
        try:
            said = json.loads(message.get("text") or message.get("bytes") or "")
            return said["type"] == "auth" and _same(said["token"].partition(":")[2], self._token)
        except (ValueError, KeyError, TypeError, AttributeError):
            return False


def _same(shown: str, token: str) -> bool:
    return hmac.compare_digest(shown.encode("utf-8", "surrogateescape"), token.encode())


def _query(scope: Scope) -> list[tuple[str, str]]:
    return parse_qsl(scope.get("query_string", b"").decode("latin-1"), keep_blank_values=True)


async def _answer(scope: Scope, receive: Receive, send: Send, status: int, text: str) -> None:
    if scope["type"] == "websocket":
        await receive()  # its opening; closed before it is accepted, it is answered with 403
        await send({"type": "websocket.close", "code": _REFUSED_SOCKET, "reason": text[:100]})
        return
    body = f"{text}\n".encode()
    headers = [(b"content-type", b"text/plain; charset=utf-8"), (b"content-length", str(len(body)).encode()),
               (b"cache-control", b"no-store")]  # fmt: skip
    if status == 401:
        headers.append((b"www-authenticate", b"Bearer"))
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
