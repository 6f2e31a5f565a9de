"""A conversation with a model behind a gateway, or behind anything else that speaks OpenAI's API."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import httpx

from registry.errors import RegistryError

CONNECT_SECONDS = 10.0


class ChatFailed(RegistryError):
    """The gateway cannot be asked, or it refused; the message is its own."""


@dataclass
class Conversation:
    """What was said so far, and how to go on.

    Attributes:
        url: of the gateway.
        model: the name that requests give.
        chat: whether the model has a chat template; else it continues texts, and remembers nothing.
        sampling: OpenAI's fields, such as ``temperature``; those that are ``None`` are left to the gateway.
        version: which answered last, as the gateway says.
    """

    url: str
    model: str
    chat: bool = True
    key: str | None = None
    system: str | None = None
    sampling: dict[str, Any] = field(default_factory=dict)
    messages: list[dict[str, str]] = field(default_factory=list)
    version: str | None = None

    def reset(self) -> None:
        """Forget what was said."""
        self.messages.clear()

    def ask(self, question: str) -> Iterator[str]:
        """The answer, piece by piece; closing the iterator stops the model. What was heard is remembered.

        Raises:
            ChatFailed: there is no answer, or it broke off.
        """
        heard: list[str] = []
        try:
            for piece in self._stream(question):
                heard.append(piece)
                yield piece
        finally:
            if heard and self.chat:
                self.messages.append({"role": "user", "content": question})
                self.messages.append({"role": "assistant", "content": "".join(heard)})

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
                    raise ChatFailed(_told(answer))
                self.version = answer.headers.get("x-stemma-model", self.model)
                yield from _pieces(answer)
        except httpx.TransportError as error:
            raise ChatFailed(f"{self.url} cannot be asked: {error or type(error).__name__}") from None


def headers(key: str | None) -> dict[str, str]:
    return {"authorization": f"Bearer {key}"} if key else {}


def served(url: str, key: str | None) -> list[dict[str, Any]]:
    """The models that a gateway serves, as ``/v1/models`` tells.

    Raises:
        ChatFailed: it cannot be asked.
    """
    try:
        answer = httpx.get(f"{url}/v1/models", headers=headers(key), timeout=CONNECT_SECONDS)
    except httpx.TransportError as error:
        raise ChatFailed(f"{url} cannot be asked: {error or type(error).__name__}") from None
    if answer.status_code != 200:
        raise ChatFailed(_told(answer))
    return answer.json()["data"]


def _pieces(answer: httpx.Response) -> Iterator[str]:
    for line in answer.iter_lines():
        if not line.startswith("data:"):
            continue
        text = line[5:].strip()
        if text == "[DONE]":
            return
        event = json.loads(text)
        if "error" in event:
            raise ChatFailed(event["error"]["message"])
        for choice in event["choices"]:
            piece = choice.get("text") or (choice.get("delta") or {}).get("content")
            if piece:
                yield piece
    raise ChatFailed("the answer broke off")


def _told(answer: httpx.Response) -> str:
    try:
        return answer.json()["error"]["message"]
    except (ValueError, KeyError, TypeError):
        return f"{answer.url} answered {answer.status_code}"
