"""Options as people write them; every mistake reported at once."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from components.planning.options import Options, parse, parse_count
from core.errors import InputProblem


@pytest.mark.parametrize(
    "text, value",
    [("140B", 140 * 10**9), ("1.5T", 1_500 * 10**9), ("2M", 2 * 10**6), ("300k", 300_000), ("1e9", 10**9),
     ("1_000", 1000), ("7", 7), ("14.8t", 14_800 * 10**9), (" 3 b ", 3 * 10**9)],
)  # fmt: skip
def test_counts(text, value):
    assert parse_count(text) == value


@pytest.mark.parametrize("text", ["", "B", "-3", "0", "1.5X", "1,000", "nan", "inf", "1e-9", "0.2"])
def test_what_is_no_count(text):
    with pytest.raises(ValueError, match="140B"):
        parse_count(text)


@given(st.integers(1, 10**15))
def test_whole_numbers_are_taken_as_they_are(value):
    assert parse_count(str(value)) == pytest.approx(value, rel=1e-15)


def test_every_mistake_at_once():
    with pytest.raises(InputProblem) as caught:
        parse({"preset": "llama2-7", "tokens": "many", "device": "h10", "count": "0", "mfu": "2", "pue": "0.5",
               "sharding": "zero9", "precision": "int4", "price": "-1"})  # fmt: skip
    messages = "\n".join(caught.value.problems)
    assert len(caught.value.problems) == 9
    assert "did you mean 'llama2-7b'" in messages and "did you mean 'h100'" in messages and "--pue" in messages


@pytest.mark.parametrize(
    "given, option",
    [
        ({"tokens": "1B"}, "--tokens"),
        ({"micro_batch": "2"}, "--micro-batch"),
        ({"preset": "gpt2-small", "context": "2048"}, "--context"),
        ({"preset": "gpt2-small", "device": "a100-80", "precision": "fp8"}, "--precision"),
        ({"preset": "gpt2-small", "count": "1", "sharding": "zero3"}, "--sharding"),
    ],
)
def test_options_that_do_not_go_together(given, option):
    with pytest.raises(InputProblem) as caught:
        parse(given)
    assert len(caught.value.problems) == 1 and caught.value.problems[0].startswith(f"{option}: ")


def test_aliases_and_defaults():
    options = parse({"preset": "gpt2-small", "sharding": "fsdp2", "precision": "bf16", "count": "8", "tokens": None})
    assert options == Options(preset="gpt2-small", sharding="zero3", precision="bf16", count=8)
