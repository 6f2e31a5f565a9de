"""The prompt as the engine will see it: a request that the model cannot take is refused before it reaches an engine.

The work is done by ``prompt_worker.py``: one process for short requests, another for long ones, so that nobody waits
for somebody else's book.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import sys
from pathlib import Path
from typing import Any

from core.environment import TELEMETRY_OFF
from core.processes import die_with_parent
from deploy.gateway.errors import ApiError
from deploy.gateway.fair_queue import FairQueue, QueueFull
from deploy.gateway.model_folder import ModelFolder, NotServable
from deploy.gateway.schemas import ChatRequest, CompletionRequest

PROCESSOR_SECONDS = 5.0  # for one prompt
SHORT_BYTES = 64 * 1024  # of a request
WAITING_SHORT, WAITING_LONG = 1024, 32  # requests that may wait for either process: milliseconds, and seconds each
ANSWER_SECONDS = 120.0  # a worker that is silent for so long hangs, whatever it says of processor time
_WORKER = Path(__file__).with_name("prompt_worker.py")


class WorkerEnded(Exception):
    """The worker ended, or was ended, before it answered."""


class MeterStopped(Exception):
    """The engine of this meter has ended; that of the next version has its own."""


class PromptMeter:
    """Measures the prompts of one model."""

    def __init__(self, model: ModelFolder, environment: dict[str, str]):
        self._lanes = [_Lane(model, environment, waiting) for waiting in (WAITING_SHORT, WAITING_LONG)]

    async def start(self) -> None:
        """Load the tokenizer and compile the template, so that the first request does not wait for it.

        Raises:
            NotServable: the tokenizer cannot be loaded, or the template does not end.
        """
        greeting = {"messages": [{"role": "user", "content": "Hello"}], "wanted": None, "most": 1}
        try:
            answer = await self._lanes[0].ask(json.dumps(greeting).encode(), "")
        except WorkerEnded as ended:
            raise NotServable(f"its tokenizer or chat template fails on a greeting: {ended}") from None
        if "failed" in answer:
            raise NotServable(f"its tokenizer or chat template fails on a greeting: {answer['failed']}")

    async def measure(self, request: ChatRequest | CompletionRequest, most: int, key: str) -> tuple[int, int]:
        """(tokens of the prompt, most tokens of the answer).

        Args:
            most: the gateway's limit of tokens.
            key: whose request it is.

        Raises:
            ApiError: the model cannot take the prompt, or too many wait for this.
            MeterStopped: there is another engine now.
        """
        job: dict[str, Any] = {"wanted": request.token_limit, "most": most}
        if isinstance(request, CompletionRequest):
            job["prompt"] = request.text
        else:
            job["messages"] = [message.for_template() for message in request.messages]
            job["tools"] = [tool.model_dump(exclude_none=True) for tool in request.tools or ()]
            job["tool_choice"] = request.tool_choice if isinstance(request.tool_choice, str) else None
        line = json.dumps(job).encode()
        try:
            answer = await self._lanes[len(line) > SHORT_BYTES].ask(line, key)
        except QueueFull:
            raise ApiError(
                503, "too many prompts are waiting already; try again soon", "overloaded", retry_after=2
            ) from None
        except WorkerEnded:
            raise ApiError(
                400, "the prompt takes too much time or memory to prepare: shorten it; where it is short, the model's "
                "chat template does not end on it", "prompt_too_costly",
                param="prompt" if isinstance(request, CompletionRequest) else "messages",
            ) from None  # fmt: skip
        if "refused" in answer:
            raise ApiError(400, **answer["refused"])
        if "failed" in answer:
            raise RuntimeError(f"the prompt could not be measured: {answer['failed']}")
        tokens, room = answer["tokens"]
        return tokens, room

    async def stop(self) -> None:
        """End the processes."""
        await asyncio.gather(*(lane.stop() for lane in self._lanes))


class _Lane:
    """A worker, and the requests that wait for it."""

    def __init__(self, model: ModelFolder, environment: dict[str, str], waiting: int):
        self._model, self._environment = model, {**environment, **TELEMETRY_OFF}
        self._queue = FairQueue(1, waiting)
        self._process: asyncio.subprocess.Process | None = None
        self._stopped = False
        self._tasks: set[asyncio.Task[Any]] = set()

    async def ask(self, line: bytes, key: str) -> dict[str, Any]:
        """The worker's answer.

        Raises:
            QueueFull: too many wait.
            WorkerEnded: there is no answer.
        """
        begun = False

        async def exchange() -> dict[str, Any]:
            nonlocal begun
            async with self._queue.slot(key):
                begun = True
                return await self._exchange(line)

        task = asyncio.create_task(exchange())
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        try:
            return await asyncio.shield(task)
        except asyncio.CancelledError:  # the client has gone; a worker that has begun keeps its slot until it is done
            if not begun:
                task.cancel()
            task.add_done_callback(lambda done: done.cancelled() or done.exception())
            raise

    async def _exchange(self, line: bytes) -> dict[str, Any]:
        try:
            async with asyncio.timeout(ANSWER_SECONDS):
                if self._stopped:
                    raise MeterStopped
                if self._process is None:
                    await self._start()
                return await self._answer(line)
        except (TimeoutError, WorkerEnded, OSError) as error:
            code = await self._end()
            if self._stopped:
                raise MeterStopped from None
            raise WorkerEnded(str(error) or f"it ended with {code}") from None

    async def _start(self) -> None:
        model = self._model
        self._process = await asyncio.create_subprocess_exec(
            sys.executable, "-P", str(_WORKER), str(PROCESSOR_SECONDS), cwd=model.path.parent, env=self._environment,
            stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, start_new_session=True,
            preexec_fn=die_with_parent,
        )  # fmt: skip
        about = {"tokenizer": str(model.path / "tokenizer.json"), "context": model.context,
                 "chat_template": model.chat_template, "special_tokens": model.special_tokens}  # fmt: skip
        answer = await self._answer(json.dumps(about).encode())
        if answer:
            raise WorkerEnded(answer["failed"])

    async def _answer(self, line: bytes) -> dict[str, Any]:
        process = self._process
        assert process is not None and process.stdin is not None and process.stdout is not None
        process.stdin.write(line + b"\n")
        await process.stdin.drain()
        answer = await process.stdout.readline()
        if not answer.endswith(b"\n"):
            raise WorkerEnded("it used more time or memory than it may")
        found: dict[str, Any] = json.loads(answer)
        return found

    async def stop(self) -> None:
        """End the process, and start no other."""
        self._stopped = True
        await self._end()

    async def _end(self) -> int | None:
        """The process' exit code."""
        process, self._process = self._process, None
        if process is None:
            return None
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        return await process.wait()
