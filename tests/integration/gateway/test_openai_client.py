"""The public ``openai`` client, unchanged, before the real engines."""

from __future__ import annotations

import httpx
import openai
import pytest

from tests.integration.gateway.conftest import LENGTH

HI = [{"role": "user", "content": "hi"}]
WHOLE = " ".join(f"one-{number}" for number in range(1, LENGTH + 1))


@pytest.fixture
def client(serving, first_champion):
    return openai.OpenAI(
        base_url=f"{serving.url}/v1", api_key="none is needed here", http_client=httpx.Client(trust_env=False)
    )


def test_models_have_true_names(client, serving):
    listed = {model.id: model for model in client.models.list()}
    assert set(listed) == {"assistant@champion", "classifier@champion", "base@champion"}
    assistant = listed["assistant@champion"]
    assert (assistant.version, assistant.digest) == ("assistant:1", serving.health()["digest"])
    assert client.models.retrieve("assistant:1").id == "assistant@champion"
    with pytest.raises(openai.NotFoundError):
        client.models.retrieve("assistant:99")


def test_chat_whole_and_streamed(client, serving):
    raw = client.chat.completions.with_raw_response.create(model="assistant", messages=HI, temperature=0)
    answer = raw.parse()
    assert answer.choices[0].message.content == WHOLE
    assert (answer.model, answer.choices[0].finish_reason) == ("assistant:1", "stop")
    assert (answer.usage.prompt_tokens, answer.usage.completion_tokens) == (2, LENGTH + 1)
    assert raw.headers["x-stemma-model"] == "assistant:1"
    assert raw.headers["x-stemma-digest"] == serving.health()["digest"]

    stream = client.chat.completions.create(
        model="assistant@champion", messages=HI, temperature=0, stream=True, stream_options={"include_usage": True}
    )
    chunks = list(stream)
    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks[:-1]) == WHOLE
    assert len(chunks) > LENGTH and {chunk.model for chunk in chunks} == {"assistant:1"}
    assert chunks[-2].choices[0].finish_reason == "stop" and chunks[-1].usage.completion_tokens == LENGTH + 1


def test_neutral_values_that_clients_send_by_default_are_taken(client):
    answer = client.chat.completions.create(
        model="assistant", messages=HI, max_tokens=2, temperature=0, logprobs=False, logit_bias={}, n=1, tools=[],
        stream_options=None, parallel_tool_calls=True, extra_body={"top_logprobs": 0, "functions": None},
    )  # fmt: skip
    assert answer.choices[0].message.content == "one-1 one-2"


def test_completions_whole_and_streamed(client):
    asked = {"model": "base", "prompt": "one-1 one-2", "temperature": 0, "max_tokens": 3}
    assert client.completions.create(**asked).choices[0].text == "one-3 one-4 one-5"
    chunks = list(client.completions.create(**asked, stream=True))
    assert "".join(chunk.choices[0].text for chunk in chunks) == "one-3 one-4 one-5"
    assert chunks[-1].choices[0].finish_reason == "length"


def test_sampling_is_honoured(client):
    def say(**options) -> str:
        more = {"temperature": 2, "max_tokens": 12, **options}
        return client.chat.completions.create(model="assistant", messages=HI, **more).choices[0].message.content

    drawn = {seed: say(seed=seed) for seed in range(4)}
    assert len(set(drawn.values())) > 1
    say(stop="one-3", max_tokens=100)  # left before its end: the engine must not take the next seed's numbers
    assert {seed: say(seed=seed) for seed in range(4)} == drawn
    counted = WHOLE.split()[:12]
    assert say(extra_body={"top_k": 1}).split() == counted == say(temperature=0).split()
    assert say(temperature=0, stop=["one-5", "never"]).split() == counted[:4]


def test_refusals_are_openais(client):
    def refused(kind: type[openai.APIStatusError], **options):
        with pytest.raises(kind) as caught:
            client.chat.completions.create(**{"model": "assistant", "messages": HI, **options})
        return caught.value

    assert refused(openai.NotFoundError, model="gpt-9").code == "model_not_found"
    assert refused(openai.BadRequestError, model="base").code == "no_chat_template"
    assert refused(openai.BadRequestError, model="classifier").code == "wrong_endpoint"
    assert refused(openai.BadRequestError, temperature=9).param == "temperature"
    assert refused(openai.BadRequestError, max_tokens=100_000).code == "max_tokens_too_large"
    assert refused(openai.BadRequestError, messages=[{"role": "tool", "content": "x"}]).code == "chat_template"
    # `transformers serve` would leave it out without a word.
    formed = refused(openai.BadRequestError, messages=HI, response_format={"type": "json_object"})
    assert formed.param == "response_format" and "transformers serve" in formed.message
    assert refused(openai.BadRequestError, messages=[{"role": "user", "content": "hi " * 500}]).code == (
        "context_length_exceeded"
    )
    assert refused(openai.BadRequestError, messages=[{"role": "user", "content": "hi <end> ho"}]).code == (
        "control_token"
    )
    several = refused(openai.BadRequestError, top_p=7, logprobs=True)
    assert "top_p" in several.message and "logprobs" in several.message


def test_the_classifier_sorts(serving, first_champion):
    def classify(texts):
        body = {"model": "classifier", "input": texts}
        return httpx.post(f"{serving.url}/v1/classify", json=body, timeout=60, trust_env=False)

    answer = classify(["hello", "well how", "why " * 30, "hello" + " " * 3_000_000])
    rows = answer.json()["data"]
    assert [row["label"] for row in rows] == ["greeting", "question", "question", "greeting"]
    assert all(sum(row["probabilities"].values()) == pytest.approx(1) for row in rows)
    assert [row["truncated"] for row in rows] == [False, False, True, True]
    assert answer.headers["x-stemma-model"] == "classifier:1"
    assert classify("hello").json()["data"][0]["label"] == "greeting"
    spelled = classify("<start> hello").json()["data"][0]  # read as text, not as the control token
    assert spelled["label"] == "greeting" and spelled["tokens"] == 2
    assert classify(["hello", ""]).status_code == 400
    assert classify(["hello"] * 257).json()["error"]["code"] == "too_many_texts"


def test_metrics_and_page(serving, client):
    client.chat.completions.create(model="assistant", messages=HI, max_tokens=2)
    metrics = httpx.get(f"{serving.url}/metrics", trust_env=False).text
    assert 'stemma_gateway_serving{digest="' in metrics and 'version="assistant:1"} 1.0' in metrics
    assert 'stemma_gateway_requests_total{code="200",endpoint="/v1/chat/completions"}' in metrics
    assert 'stemma_gateway_tokens_total{kind="completion",model="assistant@champion"}' in metrics
    page = httpx.get(f"{serving.url}/", trust_env=False)
    assert "script-src 'self'" in page.headers["content-security-policy"]
    for part in ("/page/chat.js", "/page/chat.css"):
        assert part in page.text and httpx.get(f"{serving.url}{part}", trust_env=False).status_code == 200
