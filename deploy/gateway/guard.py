"""Who may ask, how often and how much: decided before a request's body is read."""

from __future__ import annotations

import contextlib
import time
from pathlib import Path

from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from deploy import api_keys
from deploy.api_keys import ApiKey
from deploy.gateway.errors import ApiError
from deploy.gateway.settings import Limits

PROTECTED = "/v1/"
LOCAL_NAMES = ("localhost", "127.0.0.1", "[::1]")


class Keyring:
    """The keys of a workspace; a key that is added or revoked counts from the next request on."""

    def __init__(self, home: Path):
        self._home = home
        self._read_at: tuple[int, int] | None = None
        self._keys: list[ApiKey] = []
        self.keys()

    def keys(self) -> list[ApiKey]:
        """Those that count now.

        Raises:
            KeysProblem: the file cannot be read.
        """
        stamp: tuple[int, int] = (0, 0)
        with contextlib.suppress(FileNotFoundError):
            status = api_keys.path_of(self._home).stat()
            stamp = (status.st_mtime_ns, status.st_ino)
        if stamp != self._read_at:
            self._keys = api_keys.load(self._home)
            self._read_at = stamp
        return self._keys


class Bucket:
    """A token bucket: ``rate`` a minute, as many at once; times in seconds of any steady clock."""

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


class Guard:
    """Keys, rates and sizes of the API; pages and health pass."""

    def __init__(self, app: ASGIApp, keyring: Keyring, limits: Limits, loopback: bool):
        self._app, self._keyring, self._limits, self._loopback = app, keyring, limits, loopback
        self._buckets: dict[str, Bucket] = {}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return await self._app(scope, receive, send)
        headers = {name: value.decode("latin-1") for name, value in scope["headers"]}
        try:
            scope["stemma.key"] = self._admit(scope["path"], headers)
        except ApiError as refusal:
            return await refusal.response()(scope, receive, send)
        await self._app(scope, self._sized(receive), send)

    def _admit(self, path: str, headers: dict[bytes, str]) -> str | None:
        """Name of the key that was shown; ``None`` where none is needed."""
        try:
            keys = self._keyring.keys()
        except api_keys.KeysProblem:
            raise ApiError(500, "the gateway's keys cannot be read; its log says why", "keys_unreadable") from None
        if not keys and not self._loopback:  # the last one was revoked
            raise ApiError(401, "this gateway has no keys, so nobody may ask it", "invalid_api_key")
        if not keys:
            self._refuse_strange_host(headers.get(b"host", ""))
        name = self._name(keys, headers) if keys else None
        if path.startswith(PROTECTED):
            if keys and name is None:
                raise ApiError(
                    401, "no valid API key: send `Authorization: Bearer KEY`; `stemma keys add NAME` makes a key",
                    "invalid_api_key",
                )  # fmt: skip
            self._slow_down(name or "")
            length = headers.get(b"content-length", "")
            if length.isdecimal() and int(length) > self._limits.body_bytes:
                raise ApiError(413, self._too_large, "request_too_large")
        return name

    @staticmethod
    def _name(keys: list[ApiKey], headers: dict[bytes, str]) -> str | None:
        kind, _, shown = headers.get(b"authorization", "").partition(" ")
        found = api_keys.match(keys, shown.strip()) if kind.lower() == "bearer" else None
        return found.name if found else None

    @staticmethod
    def _refuse_strange_host(host: str) -> None:
        """Without keys only this machine may ask; a web page elsewhere that makes a browser ask has another name."""
        name = host if host.endswith("]") else host.rpartition(":")[0] or host
        if name.lower() not in LOCAL_NAMES:
            raise ApiError(
                403, "without API keys this gateway answers only to localhost; make a key with `stemma keys add NAME`",
                "unknown_host",
            )  # fmt: skip

    def _slow_down(self, name: str) -> None:
        rate = self._limits.requests_per_minute
        if not rate:
            return
        now = time.monotonic()
        wait = self._buckets.setdefault(name, Bucket(rate, now)).take(now)
        if wait:
            raise ApiError(
                429, f"more than {rate} requests a minute; slow down", "rate_limit_exceeded", retry_after=wait
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
