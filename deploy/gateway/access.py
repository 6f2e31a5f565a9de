"""Access control: API keys, rates, sizes and kinds of requests, checked before a request's body is read."""

from __future__ import annotations

import logging
import time

from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from deploy.gateway import api_keys
from deploy.gateway.api_keys import ApiKey, Keyring
from deploy.gateway.errors import ApiError
from deploy.gateway.settings import Limits

log = logging.getLogger(__name__)

PROTECTED = "/v1/"
JSON = "application/json"
LOCAL_NAMES = ("localhost", "127.0.0.1", "[::1]")
PROXY_HEADERS = (b"forwarded", b"via", b"x-forwarded-for", b"x-forwarded-host", b"x-forwarded-proto", b"x-real-ip")


def _is_local(host: str) -> bool:
    """Whether a name, with or without its port, is one of this machine."""
    return (host if host.endswith("]") else host.rpartition(":")[0] or host).lower() in LOCAL_NAMES


class TokenBucket:
    """``rate`` requests a minute, as many at once; times in seconds of any steady clock."""

    def __init__(self, rate: int, now: float):
        self._rate, self._left, self._then = rate, float(rate), now

    def take(self, now: float) -> float:
        """0 where a request may pass, else the seconds after which one may."""
        self._left = min(self._rate, self._left + (now - self._then) * self._rate / 60)
        self._then = now
        if self._left < 1:
            return (1 - self._left) * 60 / self._rate
        self._left -= 1
        return 0.0


class AccessControl:
    """Middleware with the keys, rates and sizes of the API; pages and health pass without a key."""

    def __init__(self, app: ASGIApp, keyring: Keyring, limits: Limits, loopback: bool):
        self._app, self._keyring, self._limits, self._loopback = app, keyring, limits, loopback
        self._buckets: dict[str, TokenBucket] = {}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = {name: value.decode("latin-1") for name, value in scope["headers"]}
        try:
            scope["stemma.key"] = self._admit(scope, headers)
        except ApiError as refusal:
            await refusal.response()(scope, receive, send)
            return
        await self._app(scope, self._sized(receive), send)

    def _admit(self, scope: Scope, headers: dict[bytes, str]) -> str | None:
        """Name of the key that the request carries; ``None`` where none is needed."""
        try:
            keys = self._keyring.keys()
        except api_keys.KeysProblem as problem:
            log.error("%s", problem)
            raise ApiError(500, "the gateway's keys cannot be read; see its log", "keys_unreadable") from None
        required = self._keyring.required or not self._loopback
        if not required:
            self._refuse_strangers(scope, headers)
        name = self._key_name(keys, headers)
        if scope["path"].startswith(PROTECTED):
            if required and name is None:
                raise ApiError(
                    401, "no valid API key: send `Authorization: Bearer KEY`; `stemma keys add NAME` makes a key",
                    "invalid_api_key",
                )  # fmt: skip
            self._limit_rate(name or "")
            length = headers.get(b"content-length", "")
            if length.isdecimal() and int(length) > self._limits.body_bytes:
                raise ApiError(413, self._too_large, "request_too_large")
            kind = headers.get(b"content-type", "").partition(";")[0].strip().lower()
            if scope["method"] == "POST" and kind != JSON:
                raise ApiError(415, f"the body must be {JSON}; say so in the header Content-Type", "unsupported_type")
        return name

    @staticmethod
    def _key_name(keys: list[ApiKey], headers: dict[bytes, str]) -> str | None:
        kind, _, shown = headers.get(b"authorization", "").partition(" ")
        found = api_keys.match(keys, shown.strip()) if kind.lower() == "bearer" else None
        return found.name if found else None

    @staticmethod
    def _refuse_strangers(scope: Scope, headers: dict[bytes, str]) -> None:
        """Without keys only this machine has access.

        A page from elsewhere in its browser sends another host or origin. A proxy speaks for other machines, whatever
        host it names; one that adds no header of its own speaks HTTP/1.0, as nginx does where nothing else is set.
        """
        if not _is_local(headers.get(b"host", "")):
            why = "names another host"
        elif b"origin" in headers and not _is_local(headers[b"origin"].partition("://")[2]):
            why = "comes from a page elsewhere"
        elif scope.get("http_version") == "1.0" or any(name in headers for name in PROXY_HEADERS):
            why = "comes through a proxy"
        else:
            return
        raise ApiError(
            403, f"without API keys this gateway answers only to localhost, and this request {why}; make a key with "
            "`stemma keys add NAME`", "unknown_host",
        )  # fmt: skip

    def _limit_rate(self, name: str) -> None:
        rate = self._limits.requests_per_minute
        if not rate:
            return
        now = time.monotonic()
        wait = self._buckets.setdefault(name, TokenBucket(rate, now)).take(now)
        if wait:
            raise ApiError(
                429, f"more than {rate} requests a minute; send fewer", "rate_limit_exceeded", retry_after=wait
            )

    @property
    def _too_large(self) -> str:
        return f"the request has more than {self._limits.body_bytes:,} bytes"

    def _sized(self, receive: Receive) -> Receive:
        """``receive`` that counts, for bodies that come without their length."""
        seen = 0

        async def counted() -> Message:
            nonlocal seen
            message = await receive()
            seen += len(message.get("body", b""))
            if seen > self._limits.body_bytes:
                raise HTTPException(413, self._too_large)
            return message

        return counted
