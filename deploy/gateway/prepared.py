"""Prepared pairs before people: the next one to vote on for ``/arena``, and the next answer to rate for ``/rate``."""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import Any

from fastapi import APIRouter, Request
from pydantic import BaseModel, Field
from sqlalchemy.orm import Session

from core.errors import InputProblem
from deploy import prepared_pairs
from deploy.gateway.bodies import BoundedRoute, TextBody
from deploy.gateway.catalog import Catalog, Version
from deploy.gateway.errors import ApiError, ErrorAnswer, documented_responses
from deploy.gateway.feedback import Recorder
from deploy.prepared_pairs import PreparedPair, PreparedPairs
from registry.errors import RegistryError
from registry.feedback import answers, selection
from registry.feedback.answers import AnswerView, NewAnswer
from registry.feedback.selection import Chosen, PairSelection

NONE_LEFT = "no prepared pair is left: `stemma feedback choose A B` prepares some"


@dataclass(frozen=True)
class ShownPair:
    """A prepared pair in the order in which a person sees it."""

    question: str
    a: tuple[Version, str]
    b: tuple[Version, str]
    selection: PairSelection


class PairQueue:
    """The prepared pairs of a workspace. Its methods block, and are called in threads."""

    def __init__(self, catalog: Catalog):
        self._catalog = catalog

    def left(self, taken: Callable[[Session], set[str]], beside: Collection[str] = ()) -> list[PreparedPair]:
        """The pairs that nobody was asked about, the next one first.

        Args:
            taken: reads the digests of pairs that people have said something of.
            beside: digests of pairs that somebody is being asked about now.

        Raises:
            ApiError: the file of the pairs, or the registry, cannot be read.
        """
        prepared = self._prepared()
        if prepared is None:
            return []
        try:
            with self._catalog.registry().read() as session:
                return prepared.left(taken(session) | set(beside))
        except RegistryError as error:
            raise _unavailable(error) from None

    def shown(self, pair: PreparedPair) -> ShownPair:
        """A pair with its answers in random order."""
        prepared = self._prepared()
        if prepared is None or pair not in prepared.pairs:
            raise ApiError(404, NONE_LEFT, "nothing_prepared")  # it was prepared anew in this moment
        try:
            sides = [(self._catalog.lookup(prepared.a), pair.a), (self._catalog.lookup(prepared.b), pair.b)]
        except RegistryError as error:
            raise _unavailable(error) from None
        swapped = secrets.randbits(1) == 1
        first, second = reversed(sides) if swapped else sides
        return ShownPair(pair.question, first, second, prepared.selection(pair, swapped=swapped))

    def _prepared(self) -> PreparedPairs | None:
        try:
            return prepared_pairs.read(self._catalog.workspace.home)
        except InputProblem as problem:
            raise ApiError(503, str(problem), "registry_unavailable", retry_after=60) from None


def _unavailable(error: RegistryError) -> ApiError:
    return ApiError(503, f"the prepared pairs cannot be asked about: {error}", "registry_unavailable", retry_after=5)


class RateRequest(TextBody):
    """A wish for an answer to rate, which is kept with what is said of it."""

    training: bool = Field(False, description="Whether models may be trained on it.")


class ToRate(BaseModel):
    """An answer to rate or edit by ``POST /v1/feedback``."""

    answer: str = Field(description="Its name.")
    model: str
    question: str
    text: str
    chosen: Chosen
    left: int = Field(description="Pairs of which no answer is rated yet, this one among them.")


class RatingDesk:
    """Answers of prepared pairs, one at a time, for their stars."""

    def __init__(self, queue: PairQueue, catalog: Catalog, recorder: Recorder):
        self._queue, self._catalog, self._recorder = queue, catalog, recorder

    def next(self, person: str, training: bool) -> ToRate:
        """The next answer, kept for this person.

        Raises:
            ApiError: this gateway keeps nothing, no pair is left, or this person's answers are as many as are kept.
        """
        if not self._recorder.days:
            raise ApiError(409, "this gateway keeps no answers: start it with --feedback-days", "nothing_is_kept")
        left = self._queue.left(selection.rated)
        if not left:
            raise ApiError(404, NONE_LEFT, "nothing_prepared")
        try:
            with self._catalog.registry().read() as session:
                again = answers.unrated(session, person, left[0].digest, training)
            shown = again or self._kept(person, left[0], training)
        except RegistryError as error:
            raise _unavailable(error) from None
        return ToRate(
            answer=shown.name, model=shown.version, question=shown.messages[0]["content"], text=shown.answer,
            chosen=shown.chosen, left=len(left),
        )  # fmt: skip

    def _kept(self, person: str, prepared: PreparedPair, training: bool) -> AnswerView:
        pair = self._queue.shown(prepared)
        version, text = pair.a
        name = f"pair-{secrets.token_hex(16)}"
        given = NewAnswer(
            name, name, person, version.id, [{"role": "user", "content": pair.question}], text, training,
            self._recorder.expires or time.time(), pair.selection,
        )  # fmt: skip
        registry = self._catalog.registry()
        if not answers.keep(registry, given):
            raise ApiError(409, f"{answers.MOST} answers are kept for you, as many as may be", "too_many_answers")
        with registry.read() as session:
            found = answers.unrated(session, person, prepared.digest, training)
        assert found is not None
        return found


def routes(rating: RatingDesk, key_of: Callable[[Request], str]) -> APIRouter:
    router = APIRouter(tags=["feedback"], route_class=BoundedRoute)
    not_kept: dict[int | str, dict[str, Any]] = {
        409: {"model": ErrorAnswer, "description": "Answers are not kept here, or as many of this key as may be"}
    }

    @router.post("/v1/feedback/next", responses=documented_responses() | not_kept)
    async def next_answer(request: Request, body: RateRequest) -> ToRate:
        """The next prepared answer to rate: those first about which reward model and judge disagree."""
        return await asyncio.to_thread(rating.next, key_of(request), body.training)

    return router
