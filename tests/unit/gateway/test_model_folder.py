"""What a folder says about its model, and which requests fit it."""

from __future__ import annotations

import json

import pytest
from tokenizers import Tokenizer, models, pre_tokenizers

from deploy.gateway import model_folder, prompt
from deploy.gateway.errors import ApiError


@pytest.fixture
def folder(tmp_path):
    tokenizer = Tokenizer(models.WordLevel({"?": 0, "a": 1, "b": 2, "<s>": 3}, unk_token="?"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer.add_special_tokens(["<s>"])
    tokenizer.enable_truncation(2)
    tokenizer.save(str(tmp_path / "tokenizer.json"))
    write(tmp_path / "config.json", architectures=["LlamaForCausalLM"], max_position_embeddings=10)
    template = "{{ bos_token }} {% for m in messages %}{% if m.role == 'tool' %}{{ raise_exception('no tools') }}{% endif %}{{ m.content }} {% endfor %}"  # noqa: E501
    write(tmp_path / "tokenizer_config.json", chat_template=template, bos_token={"content": "<s>"}, eos_token="b")
    return tmp_path


def write(path, **body):
    path.write_text(json.dumps(body))


def room(model, text, wanted=None, most=100):
    return prompt.room(model, text, special=True, wanted=wanted, most=most, param="prompt")


def test_a_generator(folder):
    model = model_folder.read(folder)
    assert (model.kind, model.context) == ("generator", 10)
    assert model.special_tokens == {"bos_token": "<s>", "eos_token": "b"} and not model.takes_tools
    (folder / "chat_template.jinja").write_text("{{ tools }}")
    assert model_folder.read(folder).takes_tools


def test_what_can_run_code_is_not_served(folder):
    (folder / "pytorch_model.bin").touch()
    with pytest.raises(model_folder.NotServable, match="safetensors"):
        model_folder.read(folder)


def test_the_prompt_is_the_templates(folder):
    model = model_folder.read(folder)
    assert prompt.chat_text(model, [{"role": "user", "content": "a"}], None) == "<s> a "
    with pytest.raises(ApiError, match="no tools"):
        prompt.chat_text(model, [{"role": "tool", "content": "a"}], None)
    write(folder / "tokenizer_config.json")
    with pytest.raises(ApiError, match="/v1/completions"):
        prompt.chat_text(model_folder.read(folder), [{"role": "user", "content": "a"}], None)


def test_answers_have_the_room_that_is_left(folder):
    model = model_folder.read(folder)
    assert room(model, "a b a") == (3, 7)  # not cut at two tokens, as the tokenizer says that training did
    assert room(model, "a b a", wanted=2) == (3, 2) and room(model, "a b a", wanted=50) == (3, 7)
    for text, wanted, code in (("a " * 10, None, "context_length_exceeded"), ("", None, "empty_prompt"),
                               ("a", 101, "max_tokens_too_large")):  # fmt: skip
        with pytest.raises(ApiError) as caught:
            room(model, text, wanted)
        assert caught.value.status == 400 and caught.value.code == code


def test_a_text_that_spells_a_control_token_is_refused_with_its_place(folder):
    model = model_folder.read(folder)
    assert model.control_tokens == ("<s>",)
    call = {"id": "1", "type": "function", "function": {"name": "f", "arguments": {"of": ["a", "b<s>"]}}}
    tool = {"type": "function", "function": {"name": "f", "description": "<s>"}}
    messages = [{"role": "user", "content": "a <s> b"}, {"role": "assistant", "content": "", "tool_calls": [call]}]
    with pytest.raises(ApiError) as caught:
        prompt.refuse_control_tokens(model, messages, [tool])
    assert (caught.value.status, caught.value.code, caught.value.param) == (400, "control_token", "messages.0.content")
    for place in ("messages.0.content", "messages.1.tool_calls.0.function.arguments.of.1",
                  "tools.0.function.description"):  # fmt: skip
        assert f"{place} spells the model's control token <s>" in caught.value.message
    prompt.refuse_control_tokens(model, [{"role": "user", "content": "a < s > <|s|> b"}], None)


def test_classifiers_and_what_is_not_served(folder):
    labels = {"10": "k", **{str(place): "abcdefghij"[place] for place in range(10)}}
    write(folder / "config.json", architectures=["LlamaForSequenceClassification"], id2label=labels)
    model = model_folder.read(folder)
    assert model.kind == "classifier" and model.labels == list("abcdefghijk")
    write(folder / "config.json", architectures=["LlamaForSequenceClassification"], id2label={"0": "score"})
    with pytest.raises(model_folder.NotServable):  # a reward model
        model_folder.read(folder)
    (folder / "config.json").write_text("[")
    with pytest.raises(model_folder.NotServable, match="no readable config"):
        model_folder.read(folder)
