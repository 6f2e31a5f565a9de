"""What requests may say."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from deploy.gateway.contract import ChatRequest, CompletionRequest

HI = [{"role": "user", "content": "hi"}]


@pytest.mark.parametrize(
    "options",
    [
        {"temperature": float("nan")}, {"temperature": 2.1}, {"top_p": 0}, {"max_tokens": 0}, {"seed": 2**63},
        {"stop": ["a"] * 5}, {"stop": ""}, {"n": 0}, {"logprobs": True}, {"response_format": {"type": "json_object"}},
        {"messages": []}, {"messages": [{"role": "robot", "content": "x"}]}, {"unheard_of": 1}, {"model": ""},
        {"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": "x"}]}]},
        {"messages": [{"role": "user", "content": "\ud800"}]},
        {"messages": [{"role": "assistant", "tool_calls": [{"id": "1", "function": {"name": "f", "arguments": "["}}]}]},
    ],
)  # fmt: skip
def test_what_is_refused(options):
    with pytest.raises(ValidationError):
        ChatRequest(**{"model": "assistant", "messages": HI, **options})


def test_what_clients_send_without_meaning_it_is_taken():
    made = ChatRequest(
        model="assistant", messages=[{"role": "developer", "content": "be kind"}, *HI], user="me", metadata={"a": "b"},
        store=False, stream=None, stop=None, n=None, max_completion_tokens=7, response_format={"type": "text"},
        stream_options={"include_usage": True, "include_obfuscation": False},
    )  # fmt: skip
    assert made.wanted == 7 and made.stops == []
    assert made.messages[0].for_engine() == {"role": "system", "content": "be kind"}
    assert CompletionRequest(model="base", prompt=["a"]).text == "a"
    with pytest.raises(ValidationError):
        CompletionRequest(model="base", prompt=["a", "b"])


def test_calls_are_objects_for_the_template_and_text_for_the_engine():
    call = {"id": "1", "type": "function", "function": {"name": "f", "arguments": '{"x": 1}'}}
    message = ChatRequest(model="m", messages=[{"role": "assistant", "tool_calls": [call]}]).messages[0]
    assert message.for_engine()["tool_calls"][0]["function"]["arguments"] == '{"x": 1}'
    assert message.for_template()["tool_calls"][0]["function"]["arguments"] == {"x": 1}
