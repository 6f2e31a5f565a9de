"""Asking the judge: one request with its deadline, retries within bounds, and what went wrong in words.

A server may be down, slow, busy, refuse, or answer with something else than JSON. What may pass is tried again; what
concerns this request alone is a failed reply; what concerns every request (a wrong key, an unknown model) ends the
asking at once.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

import httpx

from components.evaluate.judge.parameters import JudgeParameters
from core.errors import InputProblem, StemmaError

Messages = Sequence[Mapping[str, str]]

_PASSING = frozenset({408, 409, 425, 429, 500, 502, 503, 504, 529})  # the same request may work in a moment
_OF_ALL = frozenset({401, 402, 403, 404, 405})  # no other request will fare better
_LONGEST_BODY = 8 << 20  # bytes
_FIRST_PAUSE, _LONGEST_PAUSE = 0.5, 20.0  # seconds


class JudgeFailed(StemmaError):
    """The judge cannot be reached or does not serve; the verdicts so far are kept."""


@dataclass(frozen=True)
class Reply:
    """What a request came to.

    Attributes:
        text: the judge's answer; ``None`` where there is none that can be used, and ``failure`` says why.
        passing: the failure is the server's or the network's, so the same request may work another time.
        model: that answered, as the server names it.
        prompt_tokens, completion_tokens: as the server counts them, over all attempts; 0 where it does not say.
        unusable: the last answer that could not be used.
    """

    text: str | None
    failure: str | None = None
    passing: bool = False
    model: str | None = None
    prompt_tokens: int = 0
    completion_tokens: int = 0
    unusable: str | None = None


class JudgeClient:
    """A judge's endpoint. Its methods may be called by several threads at once.

    Args:
        sleep: waits between attempts, in seconds.
    """

    def __init__(self, parameters: JudgeParameters, sleep: Callable[[float], None] = time.sleep):
        self.parameters = parameters
        self._sleep = sleep
        variable = parameters.api_key_variable
        key = os.environ.get(variable, "").strip() if variable else ""
        try:
            headers = {"authorization": f"Bearer {key}"} if key else {}
            self._client = httpx.Client(timeout=parameters.timeout, headers=headers, follow_redirects=False)
        except UnicodeEncodeError:
            raise InputProblem(f"the environment variable {variable} holds characters that no key has") from None

    def __enter__(self) -> JudgeClient:
        return self

    def __exit__(self, *_: object) -> None:
        self._client.close()

    def require(self) -> str:
        """What the judging model is: its name, and the digest of its files where the server is a gateway.

        Asking for it costs nothing and finds a judge that cannot be reached before there is anything to judge.

        Raises:
            JudgeFailed: it cannot be reached, or does not accept the key.
        """
        name, where = self.parameters.model, f"the judge at {self.parameters.endpoint}"
        url = f"{self.parameters.endpoint}/models/{quote(name, safe='@:')}"
        for attempt in range(self.parameters.attempts):
            status, body, broken = self._send("GET", url, None)
            if broken is None and status not in _PASSING:
                break
            if attempt + 1 < self.parameters.attempts:
                self._sleep(_pause(attempt, body))
        else:
            raise JudgeFailed(f"{where} does not answer: {broken or _said(status, body)}; start it and run again")
        if status in (401, 402, 403):
            raise JudgeFailed(f"{where} refuses: {_said(status, body)}{self._key_hint()}")
        served = _json(body)
        digest = served.get("digest") if status == 200 and isinstance(served, dict) else None
        return f"{name} ({digest})" if isinstance(digest, str) else name  # not every server describes one model

    def ask(self, messages: Messages, accept: Callable[[str], str | None] = lambda text: None) -> Reply:
        """The judge's answer.

        Args:
            accept: what is wrong with an answer, which is then asked for again; ``None`` where it can be used.

        Raises:
            JudgeFailed: no request will be served, such as with a wrong key.
        """
        body = {
            "model": self.parameters.model,
            "messages": list(messages),
            "temperature": 0,
            "max_tokens": self.parameters.verdict_tokens,
        }
        failure, passing, prompt, completion, model, unusable = "", False, 0, 0, None, None
        for attempt in range(self.parameters.attempts):
            status, content, broken = self._send("POST", f"{self.parameters.endpoint}/chat/completions", body)
            wait = None
            if broken is not None:
                failure, passing, text, wait = broken, True, None, _pause(attempt, None)
            elif status in _OF_ALL:
                raise JudgeFailed(
                    f"the judge at {self.parameters.endpoint} refuses: {_said(status, content)}{self._key_hint()}"
                )
            elif status in _PASSING:
                failure, passing, text, wait = _said(status, content), True, None, _pause(attempt, content)
            elif status != 200:
                # This request and no other: too long, say. Asking again would get the same answer.
                return Reply(None, _said(status, content), False, model, prompt, completion)
            else:
                answer = _json(content)
                used = _usage(answer)
                prompt, completion = prompt + used[0], completion + used[1]
                text, failure = _text(answer)
                passing, model = text is None and not isinstance(answer, dict), _model(answer) or model
                wrong = accept(text) if text is not None else None
                if text is not None and wrong is None:
                    return Reply(text, None, False, model, prompt, completion)
                failure, unusable = wrong or failure, text
            if wait is not None and attempt + 1 < self.parameters.attempts:
                self._sleep(wait)
        return Reply(None, failure, passing, model, prompt, completion, unusable)

    def _send(self, method: str, url: str, body: Any) -> tuple[int, bytes, str | None]:
        """(status, body, what broke): the whole answer within the time limit, however slowly it drips."""
        limit = self.parameters.timeout
        deadline = time.monotonic() + limit
        try:
            with self._client.stream(method, url, json=body) as answer:
                pieces, size = [], 0
                for piece in answer.iter_bytes():
                    pieces.append(piece)
                    size += len(piece)
                    if size > _LONGEST_BODY:
                        return 0, b"", f"an answer of more than {_LONGEST_BODY >> 20} MiB"
                    if time.monotonic() > deadline:
                        return 0, b"", f"no whole answer within {limit:g} s"
                retry = answer.headers.get("retry-after", "")
                content = b"".join(pieces)
                if answer.status_code in _PASSING and retry.isdigit():
                    content = json.dumps({"retry_after": int(retry), "error": _said_in(content)}).encode()
                return answer.status_code, content, None
        except httpx.TimeoutException:
            return 0, b"", f"no answer within {limit:g} s"
        except httpx.HTTPError as error:
            return 0, b"", f"{type(error).__name__}: {error}".rstrip(": ")

    def _key_hint(self) -> str:
        variable = self.parameters.api_key_variable
        return f" (the key is taken from {variable})" if variable else " (no key is sent: api_key_variable is null)"


def _pause(attempt: int, content: bytes | None) -> float:
    """Seconds until the next attempt: as long as the server asks, else twice as long each time; never more than 20."""
    body = _json(content) if content else None
    asked = body.get("retry_after") if isinstance(body, dict) else None
    wanted = asked if isinstance(asked, int) else _FIRST_PAUSE * 2**attempt
    return float(min(wanted, _LONGEST_PAUSE))


def _json(content: bytes) -> Any:
    try:
        return json.loads(content)
    except (ValueError, RecursionError):
        return None


def _text(answer: Any) -> tuple[str | None, str]:
    """(the text of an answer, why there is none)."""
    if not isinstance(answer, dict):
        return None, "the answer is not JSON"
    choices = answer.get("choices")
    if not isinstance(choices, list) or not choices or not isinstance(choices[0], dict):
        return None, "the answer has no choices"
    message = choices[0].get("message")
    message = message if isinstance(message, dict) else {}
    if isinstance(message.get("refusal"), str) and message["refusal"]:
        return None, f"refused: {message['refusal'][:200]}"
    if not isinstance(message.get("content"), str) or not message["content"].strip():
        return None, f"the answer is empty (finish_reason {choices[0].get('finish_reason')!r})"
    return message["content"], ""


def _usage(answer: Any) -> tuple[int, int]:
    usage = answer.get("usage") if isinstance(answer, dict) else None
    usage = usage if isinstance(usage, dict) else {}
    prompt, completion = (usage.get(name) for name in ("prompt_tokens", "completion_tokens"))
    return (max(prompt, 0) if isinstance(prompt, int) else 0, max(completion, 0) if isinstance(completion, int) else 0)


def _model(answer: Any) -> str | None:
    name = answer.get("model") if isinstance(answer, dict) else None
    return name[:200] if isinstance(name, str) else None


def _said(status: int, content: bytes) -> str:
    message = _said_in(content)
    return f"HTTP {status}{f': {message}' if message else ''}"


def _said_in(content: bytes) -> str:
    """The server's own message, if its body holds one."""
    body = _json(content)
    error = body.get("error") if isinstance(body, dict) else None
    message = error.get("message") if isinstance(error, dict) else error
    return message[:300] if isinstance(message, str) else ""
