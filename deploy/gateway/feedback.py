"""What people allow to be kept: answers with their conversations, and thumbs, stars and edits of them.

A gateway keeps nothing unless it was started to (``--feedback-days``), and then only answers whose request says
``store: true``, as OpenAI's API has it. ``metadata`` says the rest: ``{"training": "yes"}`` that models may be trained
on it, ``{"conversation": NAME}`` which answers are turns of one talk. Personal data of a fixed form is replaced by
placeholders before anything is written, and what is kept goes after the days that were said.
"""

from __future__ import annotations

import asyncio
import logging
import re
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any, Literal, TypeVar

from fastapi import APIRouter, Request
from pydantic import BaseModel, Field, model_validator

from components.curate.privacy.placeholders import TYPED
from components.curate.privacy.redaction import redact
from deploy.gateway.bodies import BoundedRoute, TextBody
from deploy.gateway.catalog import Catalog, Version
from deploy.gateway.errors import ApiError, documented_responses
from deploy.gateway.schemas import ChatRequest, CompletionRequest
from registry.errors import NoSuchAnswer, RegistryError
from registry.feedback import answers, retention
from registry.feedback.answers import LONGEST, AnswerView, Message, NewAnswer, Thumb

log = logging.getLogger(__name__)
T = TypeVar("T")

MOST_WAITING = 8  # writes of one person that wait; redaction takes half a second at worst, and others wait behind it
WRITE_SECONDS = 5.0  # that the end of an answer waits for the registry
EXPIRY_SECONDS = 3600.0  # between two looks for what has expired
_OWN = "the gateway itself"  # no name of a key
_NAME = re.compile(r"[A-Za-z0-9_-]{8,64}")


def redacted(text: str) -> str:
    """The text with personal data of a fixed form, and secrets, replaced by their types."""
    return redact(text, TYPED)[0]


class TooMany(Exception):
    """Too many writes of one person wait."""


class Recorder:
    """Keeps answers and what is said of them; one thread writes, so that a registry that is busy holds up nothing else.

    Attributes:
        days: how long; 0: nothing is kept.
    """

    def __init__(self, catalog: Catalog, days: int):
        self.days, self._catalog = days, catalog
        self._writer = ThreadPoolExecutor(1, thread_name_prefix="feedback")
        self._waiting: Counter[str] = Counter()
        self._expiring: asyncio.Task[None] | None = None

    def start(self) -> None:
        self._expiring = asyncio.create_task(self._expire())

    async def stop(self) -> None:
        if self._expiring is not None:
            self._expiring.cancel()
            await asyncio.gather(self._expiring, return_exceptions=True)
        self._writer.shutdown(wait=False, cancel_futures=True)

    @property
    def expires(self) -> float | None:
        """When what is kept now is to be deleted, in unix seconds; ``None``: no end is set."""
        return time.time() + self.days * 86400 if self.days else None

    def wanted(self, body: ChatRequest | CompletionRequest) -> bool:
        """Whether the answer to a request is to be kept: plain text alone is, without tools.

        Raises:
            ApiError: the name of the conversation is none.
        """
        if not self.days or not isinstance(body, ChatRequest) or not body.store:
            return False
        name = (body.metadata or {}).get("conversation")
        if name is not None and not (isinstance(name, str) and _NAME.fullmatch(name)):
            raise ApiError(
                400, "metadata.conversation: write 8 to 64 letters, digits, '-' and '_'", "invalid_request",
                param="metadata",
            )  # fmt: skip
        plain = all(message.role != "tool" and not message.tool_calls for message in body.messages)
        return plain and not body.tools and body.n in (None, 1)

    async def recorded(
        self, pieces: AsyncIterator[dict[str, Any]], body: ChatRequest, name: str, person: str, version: Version
    ) -> AsyncIterator[dict[str, Any]]:
        """The pieces of an answer, which is kept once all of them were read, and before the reader knows that."""
        said: list[str] = []
        room = LONGEST
        async for piece in pieces:
            for choice in piece["choices"]:
                text = (choice.get("delta") or {}).get("content") or ""
                room -= len(text)
                said += [text] if room >= 0 else []
            yield piece
        if room >= 0:
            try:
                await self.write(person, partial(self._keep, body, name, person, version, "".join(said)))
            except (TimeoutError, TooMany, RegistryError) as error:
                log.warning("an answer was not kept: %s", str(error) or "the registry is busy")

    def _keep(self, body: ChatRequest, name: str, person: str, version: Version, answer: str) -> None:
        messages = [message.for_engine() for message in body.messages]
        if sum(len(message["content"]) for message in messages) + len(answer) > LONGEST:
            return
        metadata = body.metadata or {}
        given = NewAnswer(
            name, str(metadata.get("conversation") or name), person, version.id,
            [_plain(message) for message in messages], redacted(answer), metadata.get("training") == "yes",
            self.expires or time.time(),
        )  # fmt: skip
        if not answers.keep(self._catalog.registry(), given):
            log.warning("an answer was not kept: it is too long, or %d of its person are kept", answers.MOST)

    async def write(self, person: str, work: Callable[[], T]) -> T:
        """The result of ``work``, done in the one thread that writes.

        Raises:
            TimeoutError: it is not done yet; it goes on.
            TooMany: as many of this person wait as may.
        """
        if self._waiting[person] >= MOST_WAITING:
            raise TooMany(f"{MOST_WAITING} others of the same key are not written yet")
        self._waiting[person] += 1
        future = asyncio.get_running_loop().run_in_executor(self._writer, work)
        future.add_done_callback(partial(self._written, person))
        return await asyncio.wait_for(asyncio.shield(future), WRITE_SECONDS)

    def _written(self, person: str, future: asyncio.Future[Any]) -> None:
        self._waiting[person] -= 1
        self._waiting += Counter()  # forgets who waits for nothing
        if not future.cancelled():
            future.exception()  # whoever waited for it has it, or has left

    async def rate(self, name: str, person: str, given: FeedbackRequest) -> AnswerView:
        """Record what a person says of an answer of theirs.

        Raises:
            ApiError: there is no such answer of this key, or the registry cannot be written.
        """
        try:
            return await self.write(person, partial(self._rate, name, person, given))
        except NoSuchAnswer as error:
            raise ApiError(404, f"answer: {error}", "answer_not_found", param="answer") from None
        except TooMany as error:
            message = f"this was not recorded: {error}; send fewer at once"
            raise ApiError(429, message, "rate_limit_exceeded", retry_after=2) from None
        except (TimeoutError, RegistryError) as error:
            why = str(error) or "the registry is busy"
            raise ApiError(503, f"this was not recorded: {why}", "registry_unavailable", retry_after=5) from None

    def _rate(self, name: str, person: str, given: FeedbackRequest) -> AnswerView:
        edit = None if given.edit is None else redacted(given.edit)
        return answers.rate(self._catalog.registry(), name, person, thumb=given.thumb, stars=given.stars, edit=edit)

    async def _expire(self) -> None:
        while True:
            try:
                if removed := await self.write(_OWN, lambda: retention.remove_expired(self._catalog.registry())):
                    log.info("%d kept answers and votes have expired and are deleted", removed)
            except (TimeoutError, RegistryError) as error:
                log.warning("what has expired was not deleted, and is tried again in an hour: %s", error)
            await asyncio.sleep(EXPIRY_SECONDS)


def _plain(message: dict[str, Any]) -> Message:
    return {"role": message["role"], "content": redacted(message["content"])}


class FeedbackRequest(TextBody):
    """What a person says of an answer; each part may be left out, and given again it takes the place of the last."""

    answer: str = Field(min_length=1, max_length=64, description="The `id` of the answer.")
    thumb: Thumb | None = Field(None, description="up or down.")
    stars: int | None = Field(None, ge=1, le=5, description="5 is the best; /rate has the rubric.")
    edit: str | None = Field(None, min_length=1, max_length=LONGEST, description="The answer as it should have been.")

    @model_validator(mode="after")
    def _says_something(self) -> FeedbackRequest:
        if self.thumb is None and self.stars is None and self.edit is None:
            raise ValueError("give a thumb, stars or an edit")
        return self


class RatedAnswer(BaseModel):
    """What is recorded of the answer now."""

    answer: str
    thumb: Thumb | None
    stars: int | None
    edited: bool


class Keeping(BaseModel):
    """Whether answers are kept, for how long, and what is replaced in them."""

    days: int = Field(description="0: nothing is kept.")
    replaced: list[Literal["email", "phone", "ip", "card", "iban", "key"]]


def routes(recorder: Recorder, key_of: Callable[[Request], str]) -> APIRouter:
    router = APIRouter(tags=["feedback"], route_class=BoundedRoute)

    @router.get("/v1/feedback", responses=documented_responses())
    async def keeping() -> Keeping:
        """What this gateway keeps of answers whose request says `store: true`."""
        return Keeping.model_validate({"days": recorder.days, "replaced": list(TYPED)})

    @router.post("/v1/feedback", responses=documented_responses())
    async def feedback(request: Request, body: FeedbackRequest) -> RatedAnswer:
        """Rate or edit an answer that was kept, with the key that asked for it."""
        row = await recorder.rate(body.answer, key_of(request), body)
        return RatedAnswer.model_validate(
            {"answer": row.name, "thumb": row.thumb, "stars": row.stars, "edited": row.edit is not None}
        )

    return router
