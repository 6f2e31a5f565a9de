"""One engine that runs one version: started, asked, drained, stopped."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from deploy.gateway import process
from deploy.gateway.engines import Engine
from deploy.gateway.model_folder import ModelFolder
from registry.errors import RegistryError

POLL_SECONDS = 0.2
HEALTH_SECONDS = 20.0  # one check of its health; a busy engine is slow to answer, not dead
HEALTH_EVERY_SECONDS = 15.0
HEALTH_FAILURES = 4  # in a row, until an engine that lives but answers nothing is ended


class EngineFailed(RegistryError):
    """The engine ended before it answered, or did not answer in time."""


@dataclass(frozen=True)
class Version:
    """A version of the registry: its row, ``MODEL:VERSION`` and the digest of its files."""

    id: int
    name: str
    digest: str

    @property
    def model(self) -> str:
        return self.name.partition(":")[0]


class Running:
    """An engine's process and those who use it. All of it lives in the event loop of the main thread."""

    def __init__(self, version: Version, model: ModelFolder, engine: Engine, log: Path):
        self.version, self.model, self.engine, self.log = version, model, engine, log
        self.port = process.free_port()
        self.started = time.time()
        self.in_flight = 0
        self.broken_off = False  # an answer was left before its end, so the engine may still be at it
        self.slots = asyncio.Semaphore(engine.concurrency)
        self.ended = asyncio.Event()
        self._idle = asyncio.Event()
        self._idle.set()
        self._process: asyncio.subprocess.Process | None = None
        self._watcher: asyncio.Task[None] | None = None
        # trust_env off: a proxy of the environment must not come between the gateway and its own machine
        self.client = httpx.AsyncClient(
            base_url=f"http://127.0.0.1:{self.port}", trust_env=False,
            timeout=httpx.Timeout(None, connect=10.0), limits=httpx.Limits(max_connections=None),
        )  # fmt: skip

    @property
    def pid(self) -> int | None:
        return self._process.pid if self._process else None

    @property
    def alive(self) -> bool:
        return self._process is not None and not self.ended.is_set()

    async def start(self, seconds: float) -> None:
        """Start the process and wait until it has answered a request with one token.

        Raises:
            EngineFailed: it did not.
        """
        folder = self.model.path
        command = self.engine.command(folder, self.port)
        try:
            self._process = await process.start(command, folder.parent, self.log)
        except OSError as error:
            raise EngineFailed(f"{self.engine.name} cannot be started: {error}") from None
        self._watcher = asyncio.create_task(self._watch())
        try:
            async with asyncio.timeout(seconds):
                await self._until_healthy()
                await self._warm()
        except TimeoutError:
            raise EngineFailed(f"{self.engine.name} did not answer within {seconds:g} s; {self._said()}") from None

    async def _until_healthy(self) -> None:
        while True:
            if not self.alive:
                raise EngineFailed(f"{self.engine.name} ended by itself; {self._said()}")
            try:
                if (await self.client.get("/health", timeout=5.0)).status_code < 500:
                    return
            except httpx.TransportError:
                pass
            await asyncio.sleep(POLL_SECONDS)

    async def settle(self) -> None:
        """Wait until an engine that works on one answer after the other has noticed that the last one was left.

        Its random numbers are one sequence: an answer that goes on would take some of those that a seed promises.
        """
        if self.broken_off and self.engine.concurrency == 1:
            self.broken_off = False
            path, body = self._probe()
            await self.client.send(self.request(path, body))

    async def _warm(self) -> None:
        """One token, so that the first client does not wait for what an engine does at its first request."""
        path, body = self._probe()
        try:
            answer = await self.client.send(self.request(path, body))
        except httpx.TransportError as error:
            raise EngineFailed(f"{self.engine.name} broke off its first answer ({error}); {self._said()}") from None
        if answer.status_code != 200:
            raise EngineFailed(f"{self.engine.name} answered {answer.status_code}: {answer.text[:300]}; {self._said()}")

    def request(self, path: str, body: dict[str, Any], headers: dict[str, str] | None = None) -> httpx.Request:
        """A request to the engine; its JSON is plain ASCII, whatever a client sent."""
        told = {"content-type": "application/json", **(headers or {})}
        return self.client.build_request("POST", path, content=json.dumps(body), headers=told)

    def _probe(self) -> tuple[str, dict[str, Any]]:
        """(path, body) of the smallest request."""
        name = self.engine.argument(self.model.path)
        if self.model.kind == "classifier":
            return "/v1/classify", {"input": ["Hello"]}
        if self.model.chat_template is None:
            return "/v1/completions", {"model": name, "prompt": "Hello", "max_tokens": 1}
        messages = [{"role": "user", "content": "Hello"}]
        return "/v1/chat/completions", {"model": name, "messages": messages, "max_tokens": 1}

    def _said(self) -> str:
        words = process.last_words(self.log)
        return f"its last words (all of them: {self.log}): {words}" if words else f"it said nothing ({self.log})"

    async def _watch(self) -> None:
        """Notice that the process ended; end it where it lives and answers nothing."""
        assert self._process is not None
        checks = asyncio.create_task(self._check())
        await self._process.wait()
        checks.cancel()
        self.ended.set()

    async def _check(self) -> None:
        failures = 0
        while failures < HEALTH_FAILURES:
            await asyncio.sleep(HEALTH_EVERY_SECONDS)
            try:
                answer = await self.client.get("/health", timeout=HEALTH_SECONDS)
                failures = failures + 1 if answer.status_code >= 500 else 0
            except httpx.TransportError:
                failures += 1
        assert self._process is not None
        process.kill(self._process)

    @asynccontextmanager
    async def use(self) -> AsyncIterator[None]:
        """Held while a request waits for or has one of the engine's slots; :meth:`drain` waits for it."""
        self.in_flight += 1
        self._idle.clear()
        try:
            async with self.slots:
                yield
        finally:
            self.in_flight -= 1
            if not self.in_flight:
                self._idle.set()

    async def drain(self, seconds: float) -> bool:
        """Wait until nobody uses it; False where somebody still did after ``seconds``."""
        try:
            await asyncio.wait_for(self._idle.wait(), seconds)
        except TimeoutError:
            return False
        return True

    async def stop(self) -> None:
        """End the process and whatever it started."""
        if self._process is not None:
            await process.stop(self._process)
        if self._watcher is not None:
            await self._watcher
        await self.client.aclose()
