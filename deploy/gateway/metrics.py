"""Metrics for Prometheus."""

from __future__ import annotations

import time
from typing import Any

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from deploy.gateway.catalog import Version

_SECONDS = (0.005, 0.02, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300, 600)
_PREFIX = "stemma_gateway"


class Metrics:
    """One gateway's metrics, in a collection of their own."""

    def __init__(self) -> None:
        self.collection = CollectorRegistry()
        self.requests = self._of(Counter, "requests", "Answered requests", "endpoint", "code")
        self.seconds = self._of(Histogram, "request_seconds", "From a request to the end of its answer", "endpoint",
                                buckets=_SECONDS)  # fmt: skip
        self.first_piece = self._of(Histogram, "first_piece_seconds", "From a request to the first piece of its answer",
                                    "model", buckets=_SECONDS)  # fmt: skip
        self.in_flight = self._of(Gauge, "in_flight", "Requests that are being answered")
        self.tokens = self._of(Counter, "tokens", "Tokens of prompts and answers", "model", "kind")
        self.broken = self._of(Counter, "broken_answers", "Answers that began and could not be finished", "model")
        self.switches = self._of(Counter, "switches", "Versions that were taken or refused", "model", "outcome")
        self.deaths = self._of(Counter, "engine_deaths", "Engines that died", "model")
        self.serving = self._of(Gauge, "serving", "1 for the version that is served", "model", "version", "digest")

        self._served: dict[str, tuple[str, str, str]] = {}

    def _of(self, kind: Any, name: str, text: str, *labels: str, **options: Any) -> Any:
        return kind(f"{_PREFIX}_{name}", text, labels, registry=self.collection, **options)

    def serves(self, reference: str, version: Version) -> None:
        """``reference`` is served by ``version`` from now on, and by no other."""
        if reference in self._served:
            self.serving.remove(*self._served[reference])
        self._served[reference] = (reference, version.name, version.digest)
        self.serving.labels(*self._served[reference]).set(1)

    def page(self) -> bytes:
        """Prometheus' text format."""
        return generate_latest(self.collection)


class RequestMetrics:
    """Counts and times every request to the endpoints in ``paths``; any other address is ``other``."""

    def __init__(self, app: ASGIApp, metrics: Metrics, paths: frozenset[str]):
        self._app, self._metrics, self._paths = app, metrics, paths

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        endpoint = scope["path"] if scope["path"] in self._paths else "other"
        began, code = time.monotonic(), 500

        async def watched(message: Message) -> None:
            nonlocal code
            if message["type"] == "http.response.start":
                code = message["status"]
            await send(message)

        self._metrics.in_flight.inc()
        try:
            await self._app(scope, receive, watched)
        finally:
            self._metrics.in_flight.dec()
            self._metrics.requests.labels(endpoint, str(code)).inc()
            self._metrics.seconds.labels(endpoint).observe(time.monotonic() - began)
