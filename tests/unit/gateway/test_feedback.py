"""Which answers a gateway keeps."""

from __future__ import annotations

import asyncio
import threading

import pytest

from deploy.gateway.__main__ import settings_of
from deploy.gateway.errors import ApiError
from deploy.gateway.feedback import MOST_WAITING, Recorder, TooMany
from deploy.gateway.schemas import ChatRequest, CompletionRequest

HI = [{"role": "user", "content": "hi"}]
CALL = {"id": "1", "function": {"name": "f", "arguments": "{}"}}


def wanted(days=7, **body) -> bool:
    return Recorder(None, days).wanted(ChatRequest(**{"model": "assistant", "messages": HI, "store": True, **body}))


def test_plain_text_is_kept_where_the_request_and_the_gateway_say_so():
    assert wanted() and wanted(n=1, metadata={"conversation": "talk-0001", "other": 1})
    assert not wanted(days=0) and not wanted(store=None) and not wanted(store=False) and not wanted(n=2)
    assert not wanted(tools=[{"function": {"name": "f"}}])
    assert not wanted(messages=[*HI, {"role": "assistant", "tool_calls": [CALL]}, {"role": "tool", "content": "1"}])
    assert not Recorder(None, 7).wanted(CompletionRequest(model="base", prompt="a"))


@pytest.mark.parametrize("name", ["short", "x" * 65, "../../etc", "a b c d e", 12345678, ["talk-0001"]])
def test_the_name_of_a_conversation_is_letters_and_digits(name):
    with pytest.raises(ApiError, match="8 to 64"):
        wanted(metadata={"conversation": name})


def test_days_are_set_by_the_command_line_or_the_environment_and_bounded(monkeypatch, capsys):
    assert settings_of([]).feedback_days == 0 and settings_of(["--feedback-days", "30"]).feedback_days == 30
    monkeypatch.setenv("STEMMA_FEEDBACK_DAYS", "7")
    assert settings_of([]).feedback_days == 7
    for wrong in ("-1", "3651", "week"):
        monkeypatch.setenv("STEMMA_FEEDBACK_DAYS", wrong)
        with pytest.raises(SystemExit):
            settings_of([])
    assert "--feedback-days" in capsys.readouterr().err


def test_who_sends_too_much_at_once_waits_for_nobody_else():
    async def flood() -> list[str]:
        recorder, over = Recorder(None, 7), threading.Event()
        first = [asyncio.create_task(recorder.write("ada", over.wait)) for _ in range(MOST_WAITING)]
        await asyncio.sleep(0)
        with pytest.raises(TooMany):
            await recorder.write("ada", str)
        other = asyncio.create_task(recorder.write("bob", lambda: "bob's"))
        await asyncio.sleep(0)
        over.set()
        assert await asyncio.gather(*first) == [True] * MOST_WAITING
        done = [await other, await recorder.write("ada", lambda: "ada's")]
        await recorder.stop()
        return done

    assert asyncio.run(flood()) == ["bob's", "ada's"]
