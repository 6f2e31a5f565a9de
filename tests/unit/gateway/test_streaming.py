"""An engine's stream becomes the gateway's, and never ends as if it were whole when it is not."""

from __future__ import annotations

import asyncio
import json

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from deploy.gateway.streaming import (
    AnswerHead,
    BrokenStream,
    StopFilter,
    Usage,
    complete_answer,
    events,
    pieces,
    sse,
)  # fmt: skip

HEAD = AnswerHead("chatcmpl-1", 7, "assistant:3", "abc.dir")


def answer(*lines: str) -> httpx.Response:
    return httpx.Response(200, content="".join(f"{line}\n\n" for line in lines).encode())


def event(index: int = 0, finish: str | None = None, **delta) -> str:
    choice = {"index": index, "delta": delta, "finish_reason": finish}
    return "data: " + json.dumps({"id": "x", "model": "/secret/path", "choices": [choice]})


def relayed(*lines: str, stops: list[str] | None = None) -> tuple[list[dict], Usage]:
    usage = Usage(prompt=5)

    async def read() -> list[dict]:
        return [piece async for piece in pieces(events(answer(*lines)), "chat.completion", HEAD, usage, stops or [])]

    return asyncio.run(read()), usage


def collected(*lines: str) -> dict:
    async def read() -> dict:
        usage = Usage(prompt=5)
        return await complete_answer(
            pieces(events(answer(*lines)), "chat.completion", HEAD, usage, []), "chat.completion", HEAD, usage
        )

    return asyncio.run(read())


USAGE = 'data: {"choices": [], "usage": {"prompt_tokens": 4, "completion_tokens": 9}}'


def test_names_are_true_and_paths_stay_inside():
    made, usage = relayed(event(role="assistant"), event(content="Hi"), event(finish="stop"), USAGE, "data: [DONE]")
    assert [piece["model"] for piece in made] == ["assistant:3"] * 3 and "/secret" not in str(made)
    assert {piece["id"] for piece in made} == {"chatcmpl-1"}
    assert made[0]["choices"][0]["delta"] == {"role": "assistant", "content": ""}
    assert usage == Usage(4, 9)


def test_an_engine_that_says_no_done_but_finishes_is_whole():
    assert collected(event(content="Hi"), event(finish="length"))["choices"][0]["finish_reason"] == "length"


@pytest.mark.parametrize(
    "lines",
    [
        [event(content="Hi")],
        [],
        [event(content="Hi"), "data: [DONE]"],
        [event(content="Hi"), 'data: {"error": "out of memory"}'],
        [event(content="Hi"), 'data: {"error": "it said "no""}'],
        [event(0, content="Hi"), event(1, content="Ho"), event(0, "stop")],
    ],
)
def test_a_broken_answer_is_an_error(lines):
    with pytest.raises(BrokenStream):
        relayed(*lines)


def test_a_stop_ends_the_answer_though_the_engine_goes_on():
    made, usage = relayed(*(event(content=word) for word in ("one ", "two ", "st", "op ", "three ")), stops=["stop"])
    text = "".join(piece["choices"][0]["delta"].get("content", "") for piece in made)
    assert text == "one two " and made[-1]["choices"][0]["finish_reason"] == "stop"
    assert usage.completion == 3


def test_several_choices_and_tool_calls_come_together():
    call = {"index": 0, "id": "c1", "type": "function", "function": {"name": "look", "arguments": '{"a"'}}
    rest = {"index": 0, "function": {"arguments": ": 1}"}}
    body = collected(
        event(0, role="assistant"), event(1, content="B"), event(0, tool_calls=[call]), event(0, tool_calls=[rest]),
        event(1, reasoning_content="hm"), event(0, "tool_calls"), event(1, "stop"), USAGE,
    )  # fmt: skip
    first, second = body["choices"]
    assert first["message"]["content"] is None
    assert first["message"]["tool_calls"] == [
        {"id": "c1", "type": "function", "function": {"name": "look", "arguments": '{"a": 1}'}}
    ]
    assert second["message"] == {"role": "assistant", "content": "B", "reasoning_content": "hm"}
    assert body["usage"] == {"prompt_tokens": 4, "completion_tokens": 9, "total_tokens": 13}


def test_an_event_is_one_line_whatever_it_says():
    assert sse({"a": "x\n\ny  "}).count(b"\n") == 2


texts = st.text(alphabet="ab ", max_size=30)


@given(st.lists(texts, max_size=12), st.lists(st.text(alphabet="ab ", min_size=1, max_size=4), max_size=3))
def test_pieces_give_what_the_whole_would(pieces, stops):
    made = StopFilter(stops)
    shown = "".join(made.feed(piece) for piece in pieces)
    whole = "".join(pieces)
    places = [whole.find(stop) for stop in stops if stop in whole]
    if places:
        # A stop that is complete earlier ends the answer, even where a longer one began before it.
        first_complete = min(whole.find(stop) + len(stop) for stop in stops if stop in whole)
        assert made.stopped and whole.startswith(shown) and len(shown) <= first_complete
        assert not any(stop in shown for stop in stops)
    else:
        assert not made.stopped and shown + made.flush() == whole


def test_a_stop_over_several_pieces():
    made = StopFilter(["END", "never"])
    assert [made.feed(piece) for piece in ("one E", "N", "D two", " three")] == ["one ", "", "", ""]
    assert made.stopped and made.flush() == ""


def test_what_only_looked_like_a_stop_is_shown():
    made = StopFilter(["END"])
    assert [made.feed("an E"), made.feed("N"), made.feed("T")] == ["an ", "", "ENT"]
    assert made.flush() == ""
