"""A client of a gateway, or of any other server of OpenAI's API; and a gateway for as long as a command runs."""

from __future__ import annotations

import json
import os
import subprocess
import tempfile
import time
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx

from core import python
from core.processes import die_with_parent
from registry.errors import RegistryError

CONNECT_SECONDS = 10.0
POLL_SECONDS = 0.2
READING = "the registry is being read"  # a model's problem until the gateway has read the registry once
FIRST_LINE = "Stemma gateway: "  # of the gateway's output; its URL follows


class ChatFailed(RegistryError):
    """The gateway cannot be reached, or it refused; the message is its own.

    Attributes:
        code: the gateway's, such as ``context_length_exceeded``.
    """

    def __init__(self, message: str, code: str | None = None):
        super().__init__(message)
        self.code = code


class NotServed(RegistryError):
    """The gateway ended, or refuses the model; the message is its own."""


@dataclass
class Conversation:
    """The messages so far, and how to go on.

    Attributes:
        url: of the gateway.
        model: the name that requests give.
        chat: whether the model has a chat template; else it continues texts, each on its own.
        sampling: OpenAI's fields, such as ``temperature``; those that are ``None`` are left to the gateway.
        version: the version that answered last.
        left_out: how many of the oldest messages were left out because the model's context was full.
    """

    url: str
    model: str
    chat: bool = True
    key: str | None = None
    system: str | None = None
    sampling: dict[str, Any] = field(default_factory=dict)
    messages: list[dict[str, str]] = field(default_factory=list)
    version: str | None = None
    left_out: int = 0

    def reset(self) -> None:
        """Begin a new conversation."""
        self.messages.clear()
        self.left_out = 0

    def ask(self, question: str) -> Generator[str, None, None]:
        """The answer, piece by piece; closing the iterator stops the model. What has arrived is part of the talk.

        Where the conversation is longer than the model's context, its oldest questions and answers are left out.

        Raises:
            ChatFailed: there is no answer, or it broke off.
        """
        heard: list[str] = []
        try:
            for piece in self._stream_with_room(question):
                heard.append(piece)
                yield piece
        finally:
            if heard and self.chat:
                self.messages.append({"role": "user", "content": question})
                self.messages.append({"role": "assistant", "content": "".join(heard)})

    def _stream_with_room(self, question: str) -> Iterator[str]:
        while True:
            try:
                yield from self._stream(question)
                return
            except ChatFailed as failure:  # of the context: before the first piece
                if failure.code != "context_length_exceeded" or not self.messages:
                    raise
                del self.messages[:2]
                self.left_out += 2

    def _stream(self, question: str) -> Iterator[str]:
        body: dict[str, Any] = {"model": self.model, "stream": True}
        body |= {name: value for name, value in self.sampling.items() if value is not None}
        if self.chat:
            before = [{"role": "system", "content": self.system}] if self.system else []
            body["messages"] = [*before, *self.messages, {"role": "user", "content": question}]
        else:
            body["prompt"] = question
        path = "/v1/chat/completions" if self.chat else "/v1/completions"
        try:
            with (
                httpx.Client(timeout=httpx.Timeout(None, connect=CONNECT_SECONDS), headers=headers(self.key)) as client,
                client.stream("POST", f"{self.url}{path}", json=body) as answer,
            ):
                if answer.status_code != 200:
                    answer.read()
                    raise _failure(answer)
                self.version = answer.headers.get("x-stemma-model", self.model)
                yield from _pieces(answer)
        except httpx.TransportError as error:
            raise ChatFailed(f"{self.url} cannot be reached: {error or type(error).__name__}") from None


def headers(key: str | None) -> dict[str, str]:
    return {"authorization": f"Bearer {key}"} if key else {}


def served_models(url: str, key: str | None) -> list[dict[str, Any]]:
    """The models that a gateway serves, as in its ``/v1/models``.

    Raises:
        ChatFailed: it cannot be reached.
    """
    try:
        answer = httpx.get(f"{url}/v1/models", headers=headers(key), timeout=CONNECT_SECONDS)
    except httpx.TransportError as error:
        raise ChatFailed(f"{url} cannot be reached: {error or type(error).__name__}") from None
    if answer.status_code != 200:
        raise _failure(answer)
    models: list[dict[str, Any]] = answer.json()["data"]
    return models


def _pieces(answer: httpx.Response) -> Iterator[str]:
    for line in answer.iter_lines():
        if not line.startswith("data:"):
            continue
        text = line[5:].strip()
        if text == "[DONE]":
            return
        event = json.loads(text)
        if "error" in event:
            raise ChatFailed(event["error"]["message"], event["error"].get("code"))
        for choice in event["choices"]:
            piece = choice.get("text") or (choice.get("delta") or {}).get("content")
            if piece:
                yield piece
    raise ChatFailed("the answer broke off")


def _failure(answer: httpx.Response) -> ChatFailed:
    try:
        error = answer.json()["error"]
        return ChatFailed(error["message"], error.get("code"))
    except (ValueError, KeyError, TypeError):
        return ChatFailed(f"{answer.url} answered {answer.status_code}")


@contextmanager
def temporary_gateway(root: Path, reference: str, show: Callable[[str], None]) -> Iterator[str]:
    """URL of a gateway on this machine that serves ``reference``; it ends with the block.

    Raises:
        NotServed: it does not serve it.
    """
    with tempfile.TemporaryFile("w+") as log:
        process = subprocess.Popen(
            python.command("deploy.gateway", "--port", "0", "--model", reference),
            cwd=root, stdin=subprocess.DEVNULL, stdout=log, stderr=log, preexec_fn=die_with_parent,
            start_new_session=True,  # Ctrl-C must not reach it
        )  # fmt: skip
        try:
            url = _wait(process, lambda: _url(log), lambda: _output(log))
            show(f"Verifying and loading {reference} …")
            _wait(process, lambda: _serves(url), lambda: _output(log))
            yield url
        finally:
            process.terminate()
            try:
                process.wait(15)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def _wait(process: subprocess.Popen[bytes], ready: Callable[[], Any], output: Callable[[], str]) -> Any:
    while not (found := ready()):
        if process.poll() is not None:
            raise NotServed(output() or f"the gateway ended with exit code {process.returncode}")
        time.sleep(POLL_SECONDS)
    return found


def _output(log: Any) -> str:
    """The gateway's output, read without moving the file's position, at which the gateway goes on writing."""
    return os.pread(log.fileno(), 1 << 20, 0).decode(errors="replace").strip()


def _url(log: Any) -> str | None:
    line = next((line for line in _output(log).splitlines() if line.startswith(FIRST_LINE)), None)
    return line.removeprefix(FIRST_LINE).split()[0] if line else None


def _serves(url: str) -> bool:
    try:
        (model,) = httpx.get(f"{url}/health", timeout=30, trust_env=False).json()["models"]
    except httpx.TransportError:
        return False
    if model["state"] in ("refused", "waiting") and model["problem"] and model["version"] is None:
        if model["problem"] != READING:
            raise NotServed(model["problem"])
    return bool(model["state"] == "serving")
