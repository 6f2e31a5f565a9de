"""What requests may contain."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from deploy.gateway.schemas import ChatRequest, CompletionRequest

HI = [{"role": "user", "content": "hi"}]


@pytest.mark.parametrize(
    "options",
    [
        {"temperature": float("nan")}, {"temperature": 2.1}, {"top_p": 0}, {"max_tokens": 0}, {"seed": 2**63},
        {"stop": ["a"] * 5}, {"stop": ""}, {"n": 0}, {"response_format": {"type": "json_schema"}},
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
    assert made.token_limit == 7 and made.stops == []
    assert made.messages[0].for_engine() == {"role": "system", "content": "be kind"}
    assert CompletionRequest(model="base", prompt=["a"]).text == "a"
    with pytest.raises(ValidationError):
        CompletionRequest(model="base", prompt=["a", "b"])


CHAT_NEUTRAL = {
    "logprobs": False, "top_logprobs": 0, "logit_bias": {}, "n": 1, "stream_options": None, "tools": [],
    "tool_choice": "auto", "parallel_tool_calls": True, "functions": [], "function_call": "none",
    "modalities": ["text"],
    "audio": None, "prediction": None, "reasoning_effort": None, "verbosity": "medium", "web_search_options": None,
    "service_tier": "auto", "safety_identifier": "x", "prompt_cache_key": "y", "presence_penalty": 0,
    "frequency_penalty": 0, "seed": None, "user": None, "metadata": None, "response_format": None,
}  # fmt: skip
COMPLETION_NEUTRAL = {"logprobs": None, "logit_bias": {}, "echo": False, "best_of": 1, "suffix": None, "n": 1}


@pytest.mark.parametrize("value", ["neutral", None])
def test_neutral_values_of_fields_that_no_engine_supports_are_taken(value):
    def sent(fields):
        return fields if value == "neutral" else dict.fromkeys(fields)

    ChatRequest(model="assistant", messages=HI, **sent(CHAT_NEUTRAL))
    CompletionRequest(model="base", prompt="a", **sent(COMPLETION_NEUTRAL))


@pytest.mark.parametrize(
    ("field", "value"),
    [("logprobs", True), ("logprobs", 0), ("top_logprobs", 3), ("logit_bias", {"5": 1}), ("functions", [{"name": "f"}]),
     ("modalities", ["audio"]), ("reasoning_effort", "high"), ("audio", {}), ("web_search_options", {})],
)  # fmt: skip
def test_any_other_value_of_such_a_field_is_refused_by_its_name(field, value):
    with pytest.raises(ValidationError) as caught:
        ChatRequest(model="assistant", messages=HI, **{field: value})
    (problem,) = caught.value.errors()
    assert problem["loc"] == (field,) and "does not support it; leave it out" in problem["msg"]
    with pytest.raises(ValidationError):
        CompletionRequest(model="base", prompt="a", echo=True, logprobs=1)


def test_calls_are_objects_for_the_template_and_text_for_the_engine():
    call = {"id": "1", "type": "function", "function": {"name": "f", "arguments": '{"x": 1}'}}
    message = ChatRequest(model="m", messages=[{"role": "assistant", "tool_calls": [call]}]).messages[0]
    assert message.for_engine()["tool_calls"][0]["function"]["arguments"] == '{"x": 1}'
    assert message.for_template()["tool_calls"][0]["function"]["arguments"] == {"x": 1}
