"""A queue for a few slots, shared fairly among API keys: a key that sends hundreds of requests waits for its own."""

from __future__ import annotations

import asyncio
import contextlib
from collections import Counter, deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager


class QueueFull(Exception):
    """The queue is full, and this key has no smaller share of it than any other."""


class FairQueue:
    """Slots for requests, each of some key.

    A free slot goes to the key that holds the fewest, in turn among those that hold as many. A full queue drops the
    newest request of the key that waits with the most (longest queue drop: Suter et al., INFOCOM 1998), so a key that
    has less than its share in it is never refused.

    Args:
        slots: requests that may run at once. Where there are eight or more, no key gets the last eighth of them: the
            answers of one key cannot make another key's request wait.
        length: requests that may wait.
    """

    def __init__(self, slots: int, length: int):
        self._free, self._most_of_a_key, self._length = slots, slots - slots // 8, length
        self._held: Counter[str] = Counter()
        self._waiting: dict[str, deque[asyncio.Future[None]]] = {}  # in the order of their turns

    @property
    def waiting(self) -> int:
        return sum(map(len, self._waiting.values()))

    @asynccontextmanager
    async def slot(self, key: str) -> AsyncIterator[None]:
        """Wait for a slot, held by the block.

        Raises:
            QueueFull: too many requests of this key wait.
        """
        await self._take(key)
        try:
            yield
        finally:
            self._give_back(key)

    async def _take(self, key: str) -> None:
        if self._free and self._held[key] < self._most_of_a_key:  # nobody waits who could have it
            self._hold(key)
            return
        if self.waiting >= self._length:
            self._make_room(key)
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.setdefault(key, deque()).append(turn)
        try:
            await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled() and turn.exception() is None:
                self._give_back(key)  # it had its slot, and did not know yet
            else:
                self._forget(key, turn)
            raise

    def _make_room(self, key: str) -> None:
        longest = max(self._waiting, key=lambda each: len(self._waiting[each]), default=key)
        if len(self._waiting.get(longest, ())) <= len(self._waiting.get(key, ())) + 1:
            raise QueueFull
        dropped = self._waiting[longest][-1]
        self._forget(longest, dropped)
        if not dropped.done():  # its client has not just gone
            dropped.set_exception(QueueFull())

    def _hold(self, key: str) -> None:
        self._free -= 1
        self._held[key] += 1

    def _give_back(self, key: str) -> None:
        self._free += 1
        self._held[key] -= 1
        if not self._held[key]:
            del self._held[key]
        while self._free:
            able = [each for each in self._waiting if self._held[each] < self._most_of_a_key]
            if not able:
                return
            following = min(able, key=lambda each: self._held[each])
            turn = self._waiting[following][0]
            self._forget(following, turn)
            if turn.done():  # its client has just gone
                continue
            if following in self._waiting:  # its next turn comes after everybody's
                self._waiting[following] = self._waiting.pop(following)
            self._hold(following)
            turn.set_result(None)

    def _forget(self, key: str, turn: asyncio.Future[None]) -> None:
        with contextlib.suppress(KeyError, ValueError):
            self._waiting[key].remove(turn)
            if not self._waiting[key]:
                del self._waiting[key]
