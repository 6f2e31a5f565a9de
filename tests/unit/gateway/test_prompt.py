"""What a prompt costs, found in processes that may be killed."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import time
from collections.abc import AsyncIterator
from pathlib import Path

import psutil
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, trainers

from deploy.gateway import prompt
from deploy.gateway.errors import ApiError
from deploy.gateway.model_folder import ModelFolder, NotServable
from deploy.gateway.prompt import MeterStopped, PromptMeter
from deploy.gateway.prompt_worker import Prompts, Refused, most_bytes
from deploy.gateway.schemas import ChatRequest, CompletionRequest

TEMPLATE = "{{ bos_token }} {% for m in messages %}{% if m.role == 'tool' %}{{ raise_exception('no tools') }}{% endif %}{{ m.content }} {% endfor %}"  # noqa: E501
# Ends for every text but two: one that it loops on, one of which it makes more than any machine holds.
HOSTILE = (
    "{% for m in messages %}{{ m.content * (10 ** 11 if 'plugh' in m.content else 1) }}{% if 'xyzzy' in m.content %}"
    "{% for a in range(99999) %}{% for b in range(99999) %}{% for c in range(99999) %}"
    "{% endfor %}{% endfor %}{% endfor %}{% endif %}{% endfor %}"
)
SPECIAL = {"bos_token": "<s>", "eos_token": "b"}


@pytest.fixture(scope="module")
def words(tmp_path_factory) -> Path:
    """A tokenizer of whole words."""
    tokenizer = Tokenizer(models.WordLevel({"?": 0, "a": 1, "b": 2, "<s>": 3}, unk_token="?"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer.add_special_tokens(["<s>"])
    tokenizer.enable_truncation(2)
    path = tmp_path_factory.mktemp("words") / "tokenizer.json"
    tokenizer.save(str(path))
    return path


def bytes_tokenizer() -> Tokenizer:
    """One of pieces of words, down to single bytes, as most models have."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    trainer = trainers.BpeTrainer(
        vocab_size=400, initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), show_progress=False
    )
    tokenizer.train_from_iterator(["hello hello world, the longest of its words: über 日本"] * 9, trainer)
    return tokenizer


BYTES = bytes_tokenizer()
OF_A_TOKEN = most_bytes(BYTES, 1)


def room(prompts: Prompts, text: str, wanted=None, most=100) -> tuple[int, int]:
    return prompts.measure(prompt=text, wanted=wanted, most=most)


def test_the_prompt_is_the_templates(words):
    prompts = Prompts(str(words), 10, TEMPLATE, SPECIAL)
    assert prompts.chat_text([{"role": "user", "content": "a"}], None) == "<s> a "
    with pytest.raises(Refused, match="no tools"):
        prompts.chat_text([{"role": "tool", "content": "a"}], None)
    with pytest.raises(Refused, match="/v1/completions"):
        Prompts(str(words), 10, None, {}).chat_text([{"role": "user", "content": "a"}], None)
    assert not prompts.takes_tools and Prompts(str(words), 10, "{{ tools }}", {}).takes_tools


def test_answers_have_the_room_that_is_left(words):
    prompts = Prompts(str(words), 10, TEMPLATE, SPECIAL)
    assert room(prompts, "a b a") == (3, 7)  # not cut at two tokens, as the tokenizer says that training did
    assert room(prompts, "a b a", wanted=2) == (3, 2) and room(prompts, "a b a", wanted=50) == (3, 7)
    for text, wanted, code in (("a " * 10, None, "context_length_exceeded"), ("", None, "empty_prompt"),
                               ("a", 101, "max_tokens_too_large")):  # fmt: skip
        with pytest.raises(Refused) as caught:
            room(prompts, text, wanted)
        assert caught.value.body["code"] == code


def test_a_text_that_spells_a_control_token_is_refused_with_its_place(words):
    prompts = Prompts(str(words), 10, TEMPLATE, SPECIAL)
    assert prompts.control_tokens == ("<s>",)
    call = {"id": "1", "type": "function", "function": {"name": "f", "arguments": {"of": ["a", "b<s>"]}}}
    tool = {"type": "function", "function": {"name": "f", "description": "<s>"}}
    messages = [{"role": "user", "content": "a <s> b"}, {"role": "assistant", "content": "", "tool_calls": [call]}]
    with pytest.raises(Refused) as caught:
        prompts.refuse_control_tokens(messages, [tool])
    assert (caught.value.body["code"], caught.value.body["param"]) == ("control_token", "messages.0.content")
    for place in ("messages.0.content", "messages.1.tool_calls.0.function.arguments.of.1",
                  "tools.0.function.description"):  # fmt: skip
        assert f"{place} spells the model's control token <s>" in caught.value.body["message"]
    prompts.refuse_control_tokens([{"role": "user", "content": "a < s > <|s|> b"}], None)
    with pytest.raises(Refused) as caught:
        prompts.refuse_control_tokens([{"role": "user", "content": "<s>"}] * 5000, None)
    assert len(caught.value.body["message"]) < 5000 and "and 4980 more" in caught.value.body["message"]


@settings(max_examples=60, deadline=None)
@given(st.text(max_size=60) | st.text("helowrd :", max_size=400))
def test_no_text_has_fewer_tokens_than_its_bytes_say(text):
    count = len(BYTES.encode(text).ids)
    assert len(text.encode()) <= count * OF_A_TOKEN


def test_where_a_token_can_stand_for_any_text_there_is_no_bound(words):
    assert most_bytes(Tokenizer.from_file(str(words)), 10) is None
    stripping = bytes_tokenizer()
    stripping.normalizer = normalizers.Sequence([normalizers.NFC(), normalizers.Strip()])
    assert most_bytes(stripping, 10) is None
    assert most_bytes(bytes_tokenizer(), 10) < 400


def test_a_prompt_too_long_by_its_bytes_is_refused_before_it_is_tokenized(tmp_path):
    bytes_tokenizer().save(str(tmp_path / "tokenizer.json"))
    prompts = Prompts(str(tmp_path / "tokenizer.json"), 1024, None, {})
    began = time.process_time()
    with pytest.raises(Refused, match="3,900,000 bytes and the model's context holds 1024 tokens") as caught:
        room(prompts, "x" * 3_900_000)
    assert caught.value.body["code"] == "context_length_exceeded" and time.process_time() - began < 0.5


@pytest.fixture
def hurried(monkeypatch):
    """A tenth of the processor time."""
    monkeypatch.setattr(prompt, "PROCESSOR_SECONDS", 0.5)


@contextlib.asynccontextmanager
async def meter(folder: Path, template: str | None = TEMPLATE) -> AsyncIterator[PromptMeter]:
    made = PromptMeter(ModelFolder(folder, "generator", None, template, SPECIAL), dict(os.environ))
    try:
        await made.start()
        yield made
    finally:
        await made.stop()


def workers() -> list[psutil.Process]:
    return [child for child in psutil.Process().children() if "prompt_worker.py" in " ".join(child.cmdline())]


def chat(text: str) -> ChatRequest:
    return ChatRequest(model="m", messages=[{"role": "user", "content": text}])


def test_a_template_that_does_not_end_on_a_word_is_refused_and_others_are_answered(words, hurried):
    async def run() -> None:
        async with meter(words.parent, HOSTILE) as prompts:
            for word in ("xyzzy", "plugh"):
                assert await prompts.measure(chat("a b"), 5, "") == (2, 5)
                (worker,) = workers()
                with pytest.raises(ApiError) as caught:
                    await prompts.measure(chat(f"a {word}"), 5, "")
                assert (caught.value.status, caught.value.code) == (400, "prompt_too_costly")
                assert not worker.is_running()
        assert not workers()
        with pytest.raises(MeterStopped):
            await prompts.measure(chat("a"), 5, "")

    asyncio.run(run())


def test_a_model_whose_template_does_not_end_at_all_is_not_served(words, hurried):
    async def run() -> None:
        async with meter(words.parent, HOSTILE.replace("xyzzy", "")):
            pass

    with pytest.raises(NotServable, match="chat template fails on a greeting"):
        asyncio.run(run())


def test_eight_books_hold_up_neither_a_small_request_nor_the_loop(tmp_path):
    bytes_tokenizer().save(str(tmp_path / "tokenizer.json"))
    book = CompletionRequest(model="m", prompt="a b " * 975_000)  # 3.9 MB, minutes of work for its tokenizer

    async def run() -> None:
        async with meter(tmp_path, None) as prompts:
            books = [asyncio.create_task(prompts.measure(book, 5, "reader")) for _ in range(8)]
            await asyncio.sleep(0.5)
            late = 0.0
            for _ in range(20):
                began = time.monotonic()
                assert await prompts.measure(CompletionRequest(model="m", prompt="hello"), 5, "other") == (1, 5)
                late = max(late, time.monotonic() - began)
            assert late < 1 and not all(each.done() for each in books)
            for each in books:
                each.cancel()
            await asyncio.gather(*books, return_exceptions=True)

    asyncio.run(run())


def test_a_burst_is_measured_and_who_hangs_up_leaves_the_worker_in_step(words):
    async def run() -> None:
        async with meter(words.parent) as prompts:
            burst = await asyncio.gather(*(prompts.measure(chat("a b" + " a" * n), 5, "") for n in range(300)))
            assert burst == [(3 + n, 5) for n in range(300)]
            gone = asyncio.create_task(prompts.measure(chat("a " * 8000), 5, ""))
            await asyncio.sleep(0.01)
            gone.cancel()
            assert await prompts.measure(chat("a b"), 5, "") == (3, 5)

    asyncio.run(run())


def test_the_worker_answers_what_it_cannot_do(words):
    with pytest.raises(TypeError):
        Prompts(str(words), 10, TEMPLATE, SPECIAL).measure(**json.loads('{"strange": 1}'))
