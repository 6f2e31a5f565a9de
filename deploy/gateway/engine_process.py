"""One engine process that serves one version: started, watched, drained, stopped."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx

from core import python
from core.environment import TELEMETRY_OFF, chosen
from core.files import last_lines, private, private_folder
from core.network import free_port
from core.processes import die_with_parent
from deploy.gateway.backends import Backend
from deploy.gateway.catalog import Version
from deploy.gateway.fair_queue import FairQueue
from deploy.gateway.model_folder import ModelFolder
from deploy.gateway.prompt import PromptMeter
from registry.errors import RegistryError

POLL_SECONDS = 0.2
# Liveness, from the moment the engine is ready: while it loads, only the start timeout counts.
HEALTH_SECONDS = 20.0  # one check; a busy engine is slow to answer, not dead
HEALTH_EVERY_SECONDS = 15.0
HEALTH_FAILURES = 4  # in a row, until an engine that runs but does not answer is killed
STOP_SECONDS = 5.0
_OFFLINE = {
    **TELEMETRY_OFF, "HF_HUB_OFFLINE": "1", "TRANSFORMERS_OFFLINE": "1", "VLLM_NO_USAGE_STATS": "1",
    "PYTHONUNBUFFERED": "1",
}  # fmt: skip


class EngineFailed(RegistryError):
    """The engine ended before it answered, or did not answer in time."""


class EngineProcess:
    """A process of a backend and the requests that use it. All of it lives in the main thread's event loop."""

    def __init__(self, version: Version, model: ModelFolder, backend: Backend, log: Path, queue: int = 256):
        """``queue``: requests that may wait for one of its slots."""
        self.version, self.model, self.backend, self.log = version, model, backend, log
        self.port = free_port()
        self.started = self.ready_at = time.time()  # seconds since the epoch
        self.in_flight = 0
        self.abandoned = False  # an answer was left before its end, so the engine may still work on it
        self.slots = FairQueue(backend.concurrency, queue)
        self.prompts = PromptMeter(model, _environment())
        self.ended = asyncio.Event()
        self._idle = asyncio.Event()
        self._idle.set()
        self._process: asyncio.subprocess.Process | None = None
        self._watcher: asyncio.Task[None] | None = None
        self._liveness: asyncio.Task[None] | None = None
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
        """Start the process and wait until it has answered a request with one token; from then on it is watched.

        To be called in the main thread: the kernel ends the engine with the thread that started it.

        Args:
            seconds: all that it may take to load and answer. Nothing else ends an engine that loads.

        Raises:
            EngineFailed: it ended, or did not answer in time.
        """
        folder = self.model.path
        private_folder(self.log.parent)
        try:
            with open(self.log, "wb", opener=private) as output:
                self._process = await asyncio.create_subprocess_exec(
                    *self.backend.command(folder, self.port), cwd=folder.parent,
                    env={**_environment(), **self.backend.environment},
                    stdin=asyncio.subprocess.DEVNULL, stdout=output, stderr=output,
                    start_new_session=True, preexec_fn=die_with_parent,
                )  # fmt: skip
        except OSError as error:
            raise EngineFailed(f"{self.backend.name} cannot be started: {error}") from None
        self._watcher = asyncio.create_task(self._wait_for_end(self._process))
        try:
            async with asyncio.timeout(seconds):
                await self._until_healthy()
                await self._warm_up()
        except TimeoutError:
            raise EngineFailed(
                f"{self.backend.name} did not answer within {seconds:g} s (--start-timeout); {self._log_end()}"
            ) from None
        self.ready_at = time.time()
        self._liveness = asyncio.create_task(self._kill_when_silent(self._process))

    async def _until_healthy(self) -> None:
        while True:
            if not self.alive:
                raise EngineFailed(f"{self.backend.name} ended while it loaded the model; {self._log_end()}")
            try:
                if (await self.client.get("/health", timeout=5.0)).status_code < 500:
                    return
            except httpx.TransportError:
                pass
            await asyncio.sleep(POLL_SECONDS)

    async def _warm_up(self) -> None:
        """One token, so that the first client does not wait for what an engine does at its first request."""
        path, body = self._smallest_request()
        try:
            answer = await self.client.send(self.request(path, body))
        except httpx.TransportError as error:
            raise EngineFailed(f"{self.backend.name} broke off its first answer ({error}); {self._log_end()}") from None
        if answer.status_code != 200:
            raise EngineFailed(
                f"{self.backend.name} answered {answer.status_code}: {answer.text[:300]}; {self._log_end()}"
            )

    async def finish_abandoned(self) -> None:
        """Wait until an engine that makes one answer after the other has noticed that the last one was left.

        Its random numbers are one sequence: an answer that goes on would take some of those that a seed promises.
        """
        if self.abandoned and self.backend.concurrency == 1:
            self.abandoned = False
            path, body = self._smallest_request()
            await self.client.send(self.request(path, body))

    def request(self, path: str, body: dict[str, Any], headers: dict[str, str] | None = None) -> httpx.Request:
        """A request to the engine; its JSON is plain ASCII, whatever a client sent."""
        head = {"content-type": "application/json", **(headers or {})}
        return self.client.build_request("POST", path, content=json.dumps(body), headers=head)

    def _smallest_request(self) -> tuple[str, dict[str, Any]]:
        """(path, body)"""
        name = self.backend.argument(self.model.path)
        if self.model.kind == "classifier":
            return "/v1/classify", {"input": ["Hello"]}
        if self.model.chat_template is None:
            return "/v1/completions", {"model": name, "prompt": "Hello", "max_tokens": 1}
        messages = [{"role": "user", "content": "Hello"}]
        return "/v1/chat/completions", {"model": name, "messages": messages, "max_tokens": 1}

    def _log_end(self) -> str:
        lines = " / ".join(line.strip() for line in last_lines(self.log, 4))[-600:]
        return f"the end of its log ({self.log}): {lines}" if lines else f"its log is empty ({self.log})"

    async def _wait_for_end(self, process: asyncio.subprocess.Process) -> None:
        await process.wait()
        if self._liveness is not None:
            self._liveness.cancel()
        self.ended.set()

    async def _kill_when_silent(self, process: asyncio.subprocess.Process) -> None:
        """Kill an engine that was ready once, still runs and no longer answers."""
        failures = 0
        while failures < HEALTH_FAILURES:
            await asyncio.sleep(HEALTH_EVERY_SECONDS)
            try:
                answer = await self.client.get("/health", timeout=HEALTH_SECONDS)
                failures = failures + 1 if answer.status_code >= 500 else 0
            except httpx.TransportError:
                failures += 1
        _signal_group(process, signal.SIGKILL)

    @asynccontextmanager
    async def use(self, key: str) -> AsyncIterator[None]:
        """Held while a request waits for or has one of the engine's slots; :meth:`drain` waits for it.

        Args:
            key: whose request it is.

        Raises:
            QueueFull: too many requests of this key wait.
        """
        self.in_flight += 1
        self._idle.clear()
        try:
            async with self.slots.slot(key):
                yield
        finally:
            self.in_flight -= 1
            if not self.in_flight:
                self._idle.set()

    async def drain(self, seconds: float) -> bool:
        """Wait until no request uses it; False where one still did after ``seconds``."""
        try:
            await asyncio.wait_for(self._idle.wait(), seconds)
        except TimeoutError:
            return False
        return True

    async def stop(self) -> None:
        """End the process and everything it started: SIGTERM first, SIGKILL after :data:`STOP_SECONDS`."""
        if self._process is not None:
            if self._process.returncode is None:
                _signal_group(self._process, signal.SIGTERM)
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(self._process.wait(), STOP_SECONDS)
            _signal_group(self._process, signal.SIGKILL)  # its children as well
            await self._process.wait()
        if self._watcher is not None:
            await self._watcher
        await self.prompts.stop()
        await self.client.aclose()


def _environment() -> dict[str, str]:
    """An engine's environment: what it needs of the machine, and settings that keep it from the network."""
    own = chosen(os.environ)
    python.isolate(own)  # an engine works beside the folders of models
    return {**own, **_OFFLINE}


def _signal_group(process: asyncio.subprocess.Process, number: int) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, number)
