"""The gateway against its own OpenAPI document: whatever is sent, it neither fails nor breaks its promises."""

from __future__ import annotations

import pytest
import schemathesis
from hypothesis import HealthCheck, settings

MODELS = {"/v1/chat/completions": "assistant", "/v1/completions": "base", "/v1/classify": "classifier"}


@pytest.fixture
def document(serving, first_champion):
    return schemathesis.openapi.from_url(f"{serving.url}/openapi.json")


schema = schemathesis.pytest.from_fixture("document")


@schema.parametrize()
@settings(max_examples=20, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
def test_no_request_makes_it_fail(case):
    if isinstance(case.body, dict) and "model" in case.body and case.path in MODELS:
        # A model that is served: else almost every request would end as "no such model".
        case.body = {"max_tokens": 3, **case.body, "model": MODELS[case.path]}
        if case.path == "/v1/classify":
            del case.body["max_tokens"]
    answer = case.call(timeout=120)
    assert answer.status_code < 500, (answer.status_code, answer.text)
    if answer.status_code >= 400:
        assert set(answer.json()["error"]) == {"message", "type", "param", "code"}
    documented = case.operation.definition.raw["responses"]
    assert str(answer.status_code) in documented or answer.status_code == 405
