"""Whoever sends hundreds of requests waits for his own, not others for his."""

from __future__ import annotations

import asyncio
import contextlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from deploy.gateway.fair_queue import FairQueue, QueueFull


class Crowd:
    """Requests of several keys before one queue; each holds its slot until it is released."""

    def __init__(self, queue: FairQueue):
        self.queue, self.served, self.refused, self.tasks = queue, [], [], []
        self._releases: dict[str, list[asyncio.Event]] = {}

    async def come(self, key: str, times: int = 1) -> None:
        self.tasks += [asyncio.create_task(self._request(key)) for _ in range(times)]
        await self.settle()

    async def _request(self, key: str) -> None:
        try:
            async with self.queue.slot(key):
                self.served.append(key)
                release = asyncio.Event()
                self._releases.setdefault(key, []).append(release)
                await release.wait()
        except QueueFull:
            self.refused.append(key)

    async def finish(self, key: str) -> None:
        self._releases[key].pop(0).set()
        await self.settle()

    @staticmethod
    async def settle() -> None:
        for _ in range(5):
            await asyncio.sleep(0)

    async def end(self) -> None:
        for task in self.tasks:
            task.cancel()
        await asyncio.gather(*self.tasks, return_exceptions=True)


def test_a_full_queue_of_one_key_has_room_for_another_and_its_turn_is_next():
    async def run() -> None:
        crowd = Crowd(FairQueue(1, 256))
        await crowd.come("greedy", 300)
        assert len(crowd.refused) == 43 and crowd.queue.waiting == 256
        await crowd.come("modest")
        assert crowd.refused == ["greedy"] * 44 and crowd.queue.waiting == 256
        await crowd.finish("greedy")
        await crowd.finish(crowd.served[-1])
        assert "modest" in crowd.served[1:3]  # not behind the 255
        await crowd.end()

    asyncio.run(run())


def test_a_key_alone_gets_all_but_a_last_eighth_of_many_slots():
    async def run() -> None:
        crowd = Crowd(FairQueue(16, 100))
        await crowd.come("greedy", 50)
        assert len(crowd.served) == 14
        await crowd.come("modest", 2)
        assert crowd.served[-2:] == ["modest"] * 2
        await crowd.end()

    asyncio.run(run())


def test_who_gives_up_while_he_waits_leaves_no_trace():
    async def run() -> None:
        queue = FairQueue(1, 4)
        crowd = Crowd(queue)
        await crowd.come("a", 3)
        for task in crowd.tasks[1:]:
            task.cancel()
        await crowd.settle()
        assert queue.waiting == 0
        await crowd.end()  # the one that has the slot
        async with asyncio.timeout(1), queue.slot("b"):
            pass

    asyncio.run(run())


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 20), st.integers(1, 8), st.lists(st.tuples(st.sampled_from("abc"), st.booleans()), max_size=60))
def test_slots_and_places_are_never_lost_nor_given_twice(slots, length, steps):
    async def run() -> None:
        crowd = Crowd(FairQueue(slots, length))
        for key, comes in steps:
            if comes:
                await crowd.come(key)
            else:
                with contextlib.suppress(KeyError, IndexError):
                    await crowd.finish(key)
            held = crowd.queue._held
            assert crowd.queue._free == slots - held.total() >= 0 and crowd.queue.waiting <= length
            assert max(held.values(), default=0) <= slots - slots // 8
        await crowd.end()
        assert crowd.queue._free == slots and crowd.queue.waiting == 0

    asyncio.run(run())


def test_an_equal_share_is_all_that_a_full_queue_gives():
    async def run() -> None:
        crowd = Crowd(FairQueue(1, 4))
        await crowd.come("a", 5)
        await crowd.come("b", 3)
        assert sorted(crowd.refused) == ["a", "a", "b"]
        await crowd.end()

    asyncio.run(run())


def test_the_queue_is_full_for_the_only_key():
    async def run() -> None:
        queue = FairQueue(1, 0)
        async with queue.slot("a"):
            with pytest.raises(QueueFull):
                async with queue.slot("a"):
                    pass

    asyncio.run(run())
