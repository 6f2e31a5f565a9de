"""Who asks the console, and what that person may do.

A person shows an API key that has a role (``stemma keys add NAME --role ROLE``) on the page ``/sign-in`` and gets a
cookie for a session; a program shows the key in ``Authorization``. The link of ``stemma up`` shows the stack's own
token (the guard adds it), and is the person who started the stack. A session ends with its key, after twelve hours, or
with the process.

What changes something must come from the console's own pages: by ``Origin``, since the cookie alone would not say so.
"""

from __future__ import annotations

import logging
import secrets
import time
from collections import OrderedDict
from dataclasses import dataclass
from urllib.parse import quote, urlsplit

from starlette.datastructures import Headers
from starlette.requests import cookie_parser
from starlette.responses import PlainTextResponse, RedirectResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from deploy.gateway import api_keys
from deploy.gateway.api_keys import ROLES, ApiKey, Keyring

log = logging.getLogger(__name__)

OPEN = ("/health", "/sign-in")  # and what is below /static/
SIGN_IN, STATIC = "/sign-in", "/static/"
COOKIE = "stemma-console"
SESSION_SECONDS, MOST_SESSIONS = 12 * 3600.0, 1000
BODY_BYTES = 64 * 1024  # of a form


@dataclass(frozen=True)
class Person:
    """Somebody who was let in; ``name`` is what is recorded with a decision."""

    name: str
    role: str

    def may(self, role: str) -> bool:
        """Whether this person has the rights of ``role``."""
        return ROLES.index(self.role) >= ROLES.index(role)


class Sessions:
    """The open sessions, in memory: who signed in with which key."""

    def __init__(self, keyring: Keyring, owner: str):
        self._keyring, self._owner = keyring, owner
        self._open: OrderedDict[str, tuple[str, float]] = OrderedDict()  # to the key's hash and the time of the start

    def start(self, shown: str) -> str | None:
        """A new session's secret; ``None`` where the key opens nothing here.

        Raises:
            KeysProblem: the keys cannot be read.
        """
        key = api_keys.match(self._keyring.keys(), shown)
        if key is None or key.role is None:
            return None
        secret = secrets.token_urlsafe(32)
        self._open[secret] = (key.sha256, time.monotonic())
        while len(self._open) > MOST_SESSIONS:
            self._open.popitem(last=False)
        return secret

    def end(self, secret: str) -> None:
        self._open.pop(secret, None)

    def person(self, headers: Headers) -> Person | None:
        """Who a request comes from.

        Raises:
            KeysProblem: the keys cannot be read.
        """
        keys = self._keyring.keys()
        kind, _, shown = headers.get("authorization", "").partition(" ")
        if kind.lower() == "bearer" and (key := api_keys.match(keys, shown.strip())) is not None:
            return self._of(key)
        session = self._open.get(cookie_parser(headers.get("cookie", "")).get(COOKIE, ""))
        if session is None or time.monotonic() - session[1] > SESSION_SECONDS:
            return None
        found = [key for key in keys if key.sha256 == session[0]]
        return self._of(found[0]) if found else None

    def _of(self, key: ApiKey) -> Person | None:
        if key.role is None:
            return None
        return Person(self._owner if key.name == api_keys.STACK else key.name, key.role)


class ConsoleAccess:
    """Middleware: ``scope["stemma.person"]`` for what stands behind it, and nothing for who has not signed in."""

    def __init__(self, app: ASGIApp, sessions: Sessions):
        self._app, self._sessions = app, sessions

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers, path = Headers(scope=scope), scope["path"]
        try:
            person = self._sessions.person(headers)
        except api_keys.KeysProblem as problem:
            log.error("%s", problem)
            await PlainTextResponse("The keys cannot be read; see the console's log.\n", 500)(scope, receive, send)
            return
        if scope["method"] not in ("GET", "HEAD") and not _is_from_here(headers):
            text = "This request does not come from a page of the console, so nothing was done.\n"
            await PlainTextResponse(text, 403)(scope, receive, send)
        elif person is None and path not in OPEN and not path.startswith(STATIC):
            await self._refused(scope)(scope, receive, send)
        else:
            scope["stemma.person"] = person
            await self._app(scope, _sized(receive), send)

    @staticmethod
    def _refused(scope: Scope) -> PlainTextResponse | RedirectResponse:
        if scope["method"] in ("GET", "HEAD"):
            query = scope["query_string"].decode("latin-1")
            back = scope["path"] + (f"?{query}" if query else "")
            return RedirectResponse(f"{SIGN_IN}?back={quote(back, safe='')}", 303)
        return PlainTextResponse("Your session has ended: open the console again, and nothing was done.\n", 401)


def own_path(text: str) -> str:
    """``text`` where it is a path of this server, else the first page: no address elsewhere is led to."""
    parts = urlsplit(text)
    plain = text.startswith("/") and not text.startswith("//") and "\\" not in text and text.isprintable()
    return text if plain and not parts.scheme and not parts.netloc else "/"


def _is_from_here(headers: Headers) -> bool:
    origin = headers.get("origin")
    return origin is not None and urlsplit(origin).netloc.lower() == headers.get("host", "").lower() != ""


def _sized(receive: Receive) -> Receive:
    """``receive`` that ends a request whose body is too large for a form."""
    seen = 0

    async def counted() -> Message:
        nonlocal seen
        message = await receive()
        seen += len(message.get("body", b""))
        return message if seen <= BODY_BYTES else {"type": "http.disconnect"}

    return counted
