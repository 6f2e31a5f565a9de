"""The arena: a question, two anonymous answers of different versions in random order, and a vote between them.

The question is a person's, and both versions answer it now; or it is the next of the prepared pairs.

``/arena`` is the page; it uses ``/v1/arena/…``, under the same keys, rates and checks of origin as the rest of the API.
Which version gave which answer is known to the gateway alone until the vote is recorded in the registry's database.
"""

from __future__ import annotations

import asyncio
import random
import secrets
from collections import OrderedDict
from dataclasses import dataclass
from typing import Annotated, Any

from fastapi import APIRouter, Request
from pydantic import BaseModel, Field

from deploy.gateway.bodies import BoundedRoute, TextBody
from deploy.gateway.catalog import Catalog, Version
from deploy.gateway.errors import ApiError, ErrorAnswer, documented_responses
from deploy.gateway.feedback import Recorder, redacted
from deploy.gateway.generation import Generation, key_of, until_disconnect
from deploy.gateway.model_router import ModelRouter
from deploy.gateway.prepared import NONE_LEFT, PairQueue
from deploy.gateway.schemas import ChatRequest
from deploy.leaderboard import CurrentLeaderboard, Leaderboard
from deploy.prepared_pairs import PreparedPair
from registry.errors import RegistryError
from registry.feedback import votes
from registry.feedback.selection import PERSON, Chosen, PairSelection, voted_on
from registry.feedback.votes import Choice, GivenAnswer

MOST_OPEN = 1000  # battles that wait for their vote; where there are more, the oldest is forgotten
Text = Annotated[str, Field(max_length=8000)]


class BattleRequest(TextBody):
    """A question for two models."""

    question: Text = Field(min_length=1)
    max_tokens: int = Field(256, ge=1, le=4096, description="Most tokens of each answer.")


class OpenBattle(BaseModel):
    """Two answers; who gave them is said after the vote."""

    battle: str = Field(description="For the vote, which is to be given with the same key.")
    question: str
    answers: list[str] = Field(description="A's and B's.")
    chosen: Chosen = Field(description="How the question was: a person's own, at random, or for a disagreement.")


class VoteRequest(TextBody):
    """A vote on a battle."""

    battle: str = Field(max_length=100)
    choice: Choice = Field(description="a, b, tie, or bad: both are.")
    reason: Text = Field("", description="Why; may be empty.")
    training: bool = Field(False, description="Whether models may be trained on the vote, question and answers.")


class Revealed(BaseModel):
    """Who gave the answers."""

    a: str
    b: str
    votes: int = Field(description="In the registry now.")
    reward: float | None = Field(None, description="Of a prepared pair: that A is better, by the reward model.")
    judge: float | None = Field(None, description="Of a prepared pair: 1 where the judge prefers A, 0.5 for a tie.")


class Waiting(BaseModel):
    """Prepared pairs that nobody has voted on."""

    left: int


class Ranked(BaseModel):
    model: str
    rating: float
    low: float
    high: float
    elo: float
    battles: int
    wins: int
    ties: int
    losses: int


class RankedModels(BaseModel):
    """Ratings, the best first; ``low`` and ``high`` bound their 95 % intervals."""

    ratings: list[Ranked]
    votes: int
    both_bad: int
    connected: bool
    left_out: int = Field(description="Votes on pairs that were chosen for a disagreement; they do not count.")


@dataclass(frozen=True)
class PendingVote:
    """A battle that waits for its vote, and whose it is."""

    key: str
    question: str
    a: tuple[Version, str]
    b: tuple[Version, str]
    selection: PairSelection | None = None


class Arena:
    """The open battles of a gateway, and the votes in its registry."""

    def __init__(self, models: ModelRouter, generation: Generation, catalog: Catalog, recorder: Recorder):
        self._models, self._generation, self._catalog, self._recorder = models, generation, catalog, recorder
        self._open: OrderedDict[str, PendingVote] = OrderedDict()
        self._leaderboard = CurrentLeaderboard()
        self._queue = PairQueue(catalog)

    async def ask(self, request: Request, body: BattleRequest) -> OpenBattle:
        """Both answers, in an order that says nothing.

        Raises:
            ApiError: fewer than two versions that chat are served, or one of them gave no answer.
        """
        chosen = random.SystemRandom().sample(self._contestants(), 2)
        key = key_of(request)
        asked = [self._answer(reference, body, key) for reference in chosen]
        a, b = await until_disconnect(request, asyncio.gather(*asked))
        return self._opened(PendingVote(key, body.question, a, b))

    def waiting(self) -> list[PreparedPair]:
        """The prepared pairs that nobody has voted on, or is asked about now; the next one first. Blocks.

        Raises:
            ApiError: they cannot be read.
        """
        asked = {each.selection.pair for each in list(self._open.values()) if each.selection is not None}
        return self._queue.left(voted_on, asked)

    async def next_pair(self, request: Request) -> OpenBattle:
        """The next prepared pair.

        Raises:
            ApiError: there is none, or it cannot be read.
        """
        left = await asyncio.to_thread(self.waiting)
        if not left:
            raise ApiError(404, NONE_LEFT, "nothing_prepared")
        pair = await asyncio.to_thread(self._queue.shown, left[0])
        return self._opened(PendingVote(key_of(request), pair.question, pair.a, pair.b, pair.selection))

    def _opened(self, pending: PendingVote) -> OpenBattle:
        name = secrets.token_urlsafe(16)
        self._open[name] = pending
        while len(self._open) > MOST_OPEN:
            self._open.popitem(last=False)
        chosen = PERSON if pending.selection is None else pending.selection.chosen
        answers = [pending.a[1], pending.b[1]]
        return OpenBattle(battle=name, question=pending.question, answers=answers, chosen=chosen)

    async def vote(self, request: Request, body: VoteRequest) -> Revealed:
        """Record a vote, once.

        Raises:
            ApiError: there is no such battle of this key, or the registry cannot be written.
        """
        found = self._open.get(body.battle)
        if found is None or found.key != key_of(request):
            raise ApiError(
                404, "battle: there is no such one, or it was voted on already; ask a new question", "battle_not_found",
                param="battle",
            )  # fmt: skip
        del self._open[body.battle]
        try:
            count = await asyncio.to_thread(self._record, found, body)
        except RegistryError as error:
            self._open[body.battle] = found
            raise ApiError(503, f"the vote was not recorded: {error}", "registry_unavailable", retry_after=5) from None
        prepared = found.selection
        opinions = {"reward": prepared.reward, "judge": prepared.judge} if prepared is not None else {}
        return Revealed(a=found.a[0].name, b=found.b[0].name, votes=count, **opinions)

    def _record(self, found: PendingVote, body: VoteRequest) -> int:
        a, b = (GivenAnswer(version.id, redacted(answer)) for version, answer in (found.a, found.b))
        return votes.record(
            self._catalog.registry(), found.key, redacted(found.question), a, b, body.choice, redacted(body.reason),
            consent=body.training, expires=self._recorder.expires, selection=found.selection,
        )  # fmt: skip

    async def ranked(self) -> Leaderboard:
        """The leaderboard of all votes.

        Raises:
            ApiError: the registry cannot be read.
        """
        try:
            return await asyncio.to_thread(lambda: self._leaderboard.of(self._catalog.registry()))
        except RegistryError as error:
            raise ApiError(503, f"the votes cannot be read: {error}", "registry_unavailable", retry_after=5) from None

    def _contestants(self) -> list[str]:
        """References of the models that may be asked, one a version."""
        served = {
            server.current.version.digest: server.reference
            for server in self._models.servers
            if server.current is not None and server.current.model.chat_template is not None
        }
        if len(served) < 2:
            raise ApiError(
                409, "the arena needs two versions that chat, and this gateway serves "
                f"{len(served)}; start it with two or more, such as MODEL@champion and MODEL:VERSION",
                "too_few_models",
            )  # fmt: skip
        return list(served.values())

    async def _answer(self, reference: str, body: BattleRequest, key: str) -> tuple[Version, str]:
        limit = min(body.max_tokens, self._generation.limits.tokens)
        messages = [{"role": "user", "content": body.question}]
        asked = {"model": reference, "messages": messages, "max_tokens": limit}
        return await self._generation.text(ChatRequest.model_validate(asked), key)


def routes(arena: Arena) -> APIRouter:
    router = APIRouter(tags=["arena"], route_class=BoundedRoute)

    too_few: dict[int | str, dict[str, Any]] = {
        409: {"model": ErrorAnswer, "description": "Fewer than two versions that chat are served"}
    }

    @router.post("/v1/arena/battles", responses=documented_responses() | too_few)
    async def battles(request: Request, body: BattleRequest) -> OpenBattle:
        """Ask two of the served versions, which stay anonymous until the vote."""
        return await arena.ask(request, body)

    @router.get("/v1/arena/pairs", responses=documented_responses())
    async def pairs() -> Waiting:
        """How many prepared pairs wait for a vote."""
        return Waiting(left=len(await asyncio.to_thread(arena.waiting)))

    @router.post("/v1/arena/pairs", responses=documented_responses())
    async def next_pair(request: Request) -> OpenBattle:
        """The next prepared pair: those first about which reward model and judge disagree."""
        return await arena.next_pair(request)

    @router.post("/v1/arena/votes", responses=documented_responses())
    async def vote(request: Request, body: VoteRequest) -> Revealed:
        """Vote on a battle; question, answers, vote and the key's name are recorded in the registry."""
        return await arena.vote(request, body)

    @router.get("/v1/arena/leaderboard", responses=documented_responses())
    async def board() -> RankedModels:
        """Bradley-Terry ratings of all versions that were voted on."""
        return RankedModels.model_validate((await arena.ranked()).as_dict())

    return router
