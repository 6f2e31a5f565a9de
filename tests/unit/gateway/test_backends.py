"""How engines are started, and what their requests look like."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from deploy.gateway.backends import TRANSFORMERS, VLLM, NoSuchBackend, choose
from deploy.gateway.errors import ApiError
from deploy.gateway.model_folder import ModelFolder
from deploy.gateway.schemas import ChatRequest, CompletionRequest

FOLDER = Path("/home/me@work/models/abc.dir")
MODEL = ModelFolder(FOLDER, "generator", 128)
HI = [{"role": "user", "content": [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]}]


def config(model: ModelFolder = MODEL, **options) -> dict:
    body = TRANSFORMERS.body(model, ChatRequest(model="assistant", messages=HI, **options), 50)
    return json.loads(body["generation_config"])


def test_commands():
    assert TRANSFORMERS.command(FOLDER, 7)[-5:] == ["abc.dir", "--host", "127.0.0.1", "--port", "7"]  # no "@" in it
    assert VLLM.command(FOLDER, 7)[2] == str(FOLDER)
    own = choose("python -c 'print({model}, {port})'")
    assert own.command(Path("/a"), 7) == ["python", "-c", "print(/a, 7)"] and own.native
    for wrong in ("python {model}", "python", "no-such-program-here {model} {port}"):
        with pytest.raises(NoSuchBackend):
            choose(wrong)


def test_transformers_samples_as_asked():
    assert config() == {"do_sample": True, "temperature": 1.0, "top_p": 1.0, "top_k": 0, "max_new_tokens": 50}
    for temperature in (0, 5e-324):  # the engine would divide by it
        assert config(temperature=temperature, top_p=0.5) == {"do_sample": False, "max_new_tokens": 50}
    asked = config(temperature=0.5, top_k=3, min_p=0.1, repetition_penalty=1.2)
    assert asked == {"do_sample": True, "temperature": 0.5, "top_p": 1.0, "top_k": 3, "min_p": 0.1,
                     "repetition_penalty": 1.2, "max_new_tokens": 50}  # fmt: skip


def test_a_models_own_defaults_stand_where_nothing_is_asked():
    model = ModelFolder(FOLDER, "generator", 128, generation={"temperature": 0.6, "top_k": 20, "eos_token_id": 1})
    assert config(model) == {"do_sample": True, "temperature": 0.6, "top_p": 1.0, "top_k": 20, "max_new_tokens": 50}
    assert config(model, temperature=0.9, top_k=0)["temperature"] == 0.9
    greedy = ModelFolder(FOLDER, "generator", 128, generation={"do_sample": False})
    assert config(greedy)["do_sample"] is False and config(greedy, temperature=1)["do_sample"] is True


def test_what_an_engine_cannot_do_is_refused_not_left_out():
    for options in ({"n": 2}, {"presence_penalty": 1}, {"frequency_penalty": -1}):
        with pytest.raises(ApiError) as caught:
            config(**options)
        assert caught.value.status == 400 and caught.value.param in options
    config(n=1, presence_penalty=0, frequency_penalty=0)


def test_openais_own_fields_go_to_engines_that_know_them():
    request = ChatRequest(model="assistant", messages=HI, n=2, stop="x", seed=3, presence_penalty=1, top_k=4, user="me")
    assert VLLM.body(MODEL, request, 50) == {
        "model": str(FOLDER), "messages": [{"role": "user", "content": "ab"}], "stream": True, "seed": 3, "top_k": 4,
        "n": 2, "presence_penalty": 1.0, "stop": ["x"], "max_tokens": 50, "stream_options": {"include_usage": True},
    }  # fmt: skip
    body = TRANSFORMERS.body(MODEL, CompletionRequest(model="base", prompt=["one"], stop=["x"]), 50)
    assert body["prompt"] == "one" and body["stream"] and "stop" not in body


TOOLS = [{"type": "function", "function": {"name": "look", "parameters": {"type": "object"}}}]
SCHEMA = {"type": "json_schema", "json_schema": {"name": "answer", "schema": {"type": "object"}, "strict": True}}


def test_tools_and_forms_of_the_answer_go_to_engines_that_know_them():
    chosen = {"type": "function", "function": {"name": "look"}}
    for choice, form in ((chosen, SCHEMA), ("required", {"type": "json_object"}), ("auto", {"type": "text"})):
        options = {"tools": TOOLS, "tool_choice": choice, "response_format": form}
        body = VLLM.body(MODEL, ChatRequest(model="assistant", messages=HI, **options), 50)
        assert {name: body[name] for name in options} == options
    body = VLLM.body(MODEL, ChatRequest(model="assistant", messages=HI, tools=TOOLS, tool_choice="none"), 50)
    assert "tools" not in body and "tool_choice" not in body


def test_an_engine_without_them_refuses_in_one_sentence():
    for name, value in (("tool_choice", "required"), ("response_format", SCHEMA)):
        with pytest.raises(ApiError, match="transformers serve") as caught:
            config(**{"tools": TOOLS, name: value})
        assert caught.value.status == 400 and caught.value.param == name
    config(tools=TOOLS, tool_choice="auto", response_format={"type": "text"})


def test_a_choice_among_tools_that_are_not_there_is_refused():
    for options in ({"tool_choice": "required"},
                    {"tools": TOOLS, "tool_choice": {"type": "function", "function": {"name": "run"}}}):  # fmt: skip
        with pytest.raises(ValueError, match="tool_choice"):
            ChatRequest(model="assistant", messages=HI, **options)
