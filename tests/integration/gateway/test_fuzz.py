"""The gateway against its own OpenAPI document: whatever is sent, it neither fails nor breaks its promises."""

from __future__ import annotations

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from schemathesis import GenerationMode

MODELS = {"/v1/chat/completions": "assistant", "/v1/completions": "base", "/v1/classify": "classifier"}
PEOPLE = ("/v1/arena/battles", "/v1/arena/pairs", "/v1/arena/votes", "/v1/feedback", "/v1/feedback/next")
WITHOUT_BODY = ("/v1/arena/pairs",)  # nothing of a request can be wrong
ADDRESSES = [*(("POST", path) for path in (*MODELS, *PEOPLE)), ("GET", "/v1/models"), ("GET", "/v1/models/{name}"),
             ("GET", "/v1/arena/leaderboard"), ("GET", "/v1/arena/pairs"), ("GET", "/v1/feedback"), ("GET", "/health"),
             ("GET", "/metrics")]  # fmt: skip


@pytest.fixture(scope="module")
def document(serving):
    return schemathesis.openapi.from_url(f"{serving.url}/openapi.json")


def test_every_address_is_tried(document):
    named = {(each.ok().method.upper(), each.ok().path) for each in document.get_all_operations()}
    assert named == set(ADDRESSES)


@pytest.mark.parametrize(
    ("method", "path", "mode"),
    [*((*address, GenerationMode.POSITIVE) for address in ADDRESSES),
     *(("POST", path, GenerationMode.NEGATIVE) for path in (*MODELS, *PEOPLE) if path not in WITHOUT_BODY)],
    ids=str,
)  # fmt: skip
def test_no_request_makes_it_fail(document, first_champion, method, path, mode):
    operation = document[path][method]

    @given(case=operation.as_strategy(generation_mode=mode))
    @settings(max_examples=25 if method == "POST" else 5, deadline=None, derandomize=True, database=None,
              phases=[Phase.generate], suppress_health_check=list(HealthCheck))  # fmt: skip
    def holds(case):
        if isinstance(case.body, dict) and "model" in case.body:
            # A model that is served: else almost every request would end as "no such model".
            case.body = {**case.body, "model": MODELS[path], **({} if "classify" in path else {"max_tokens": 3})}
        answer = case.call(timeout=120)
        assert answer.status_code < 500, (answer.status_code, answer.text)
        if answer.status_code >= 400:
            assert set(answer.json()["error"]) == {"message", "type", "param", "code"}
        assert str(answer.status_code) in operation.definition.raw["responses"]

    holds()
