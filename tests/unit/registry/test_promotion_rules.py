"""A rule of params.yaml that a recipe makes null counts no longer."""

from __future__ import annotations

from registry.promotion.parameters import PromotionParameters


def test_a_rule_that_is_null_is_none():
    section = {"base": {"bits_per_byte": None, "answer_loss": {"max": 2.0}}, "reward": {"accuracy": None}}
    rules = PromotionParameters.model_validate(section).rules
    assert list(rules["base"]) == ["answer_loss"] and rules["reward"] == {}
