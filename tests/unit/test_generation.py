"""Batched generation: the same answers as one at a time, whatever the order and the batch size."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from components.conversations import render
from components.generation import _inversion, answers
from tests.unit.finetuning.workspace import write_model

PROMPTS = [
    "Which parameter is first? def f ( alpha , beta )",
    "Which parameter is last? def g ( omega )",
    "alpha",
    "Which parameter is last? def long ( alpha , beta , gamma , delta , omega , sigma )",
    "alpha",
]


@pytest.fixture(scope="module")
def model_and_tokenizer(tmp_path_factory):
    from transformers import AutoModelForCausalLM, AutoTokenizer

    folder = tmp_path_factory.mktemp("model")
    write_model(folder, seed=3)
    model = AutoModelForCausalLM.from_pretrained(folder)
    with torch.no_grad():  # spread the logits, so that no two tokens are about equally probable
        model.model.embed_tokens.weight.mul_(8)
    return model, AutoTokenizer.from_pretrained(folder)


def test_greedy_is_what_generate_gives_for_each_prompt_alone(model_and_tokenizer):
    model, tokenizer = model_and_tokenizer
    found = answers(model, tokenizer, PROMPTS, max_new_tokens=8, batch_size=3)
    for prompt, [answer] in zip(PROMPTS, found, strict=True):
        ids = torch.tensor(render(tokenizer, [prompt]))
        alone = model.generate(ids, max_new_tokens=8, do_sample=False, pad_token_id=tokenizer.pad_token_id)
        assert answer == tokenizer.decode(alone[0, ids.shape[1] :], skip_special_tokens=True)


@settings(max_examples=8, deadline=None)
@given(order=st.permutations(range(len(PROMPTS))), batch_size=st.integers(1, 16), seed=st.integers(0, 3))
def test_drawn_answers_depend_on_the_seed_and_the_prompt_alone(model_and_tokenizer, order, batch_size, seed):
    model, tokenizer = model_and_tokenizer
    draw = {"samples": 2, "temperature": 1.0, "max_new_tokens": 5, "seed": seed}
    one = answers(model, tokenizer, PROMPTS, batch_size=4, **draw)
    other = answers(model, tokenizer, [PROMPTS[i] for i in order], batch_size=batch_size, **draw)
    # Equal prompts have answers of their own, which may change places.
    assert sorted(map(str, one)) == sorted(map(str, other))
    for place, i in enumerate(order):
        if PROMPTS.count(PROMPTS[i]) == 1:
            assert other[place] == one[i]


def test_samples_and_seeds_differ(model_and_tokenizer):
    model, tokenizer = model_and_tokenizer
    draw = {"samples": 4, "temperature": 2.0, "max_new_tokens": 6}
    one = answers(model, tokenizer, PROMPTS, seed=1, **draw)
    assert len(set(one[0])) > 1
    assert one[2] != one[4]  # the same prompt twice
    assert one != answers(model, tokenizer, PROMPTS, seed=2, **draw)


def test_drawn_tokens_have_the_probabilities_of_the_model():
    logits = torch.log(torch.tensor([0.5, 0.3, 0.0, 0.2]))
    n = 20_000
    uniforms = (torch.arange(n, dtype=torch.float64)[:, None] + 0.5) / n
    drawn = _inversion(uniforms, 1.0)(logits.repeat(n, 1), torch.arange(n), 0)
    assert torch.allclose(torch.bincount(drawn, minlength=4) / n, torch.tensor([0.5, 0.3, 0.0, 0.2]), atol=1e-3)


def test_a_lower_temperature_sharpens():
    logits = torch.log(torch.tensor([0.6, 0.4]))
    uniforms = torch.linspace(0, 0.999, 1000, dtype=torch.float64)[:, None]
    drawn = _inversion(uniforms, 0.5)(logits.repeat(1000, 1), torch.arange(1000), 0)
    assert abs((drawn == 0).float().mean() - 0.36 / 0.52) < 0.01


def test_an_answer_ends_where_the_context_ends(model_and_tokenizer):
    model, tokenizer = model_and_tokenizer
    prompt = "alpha " * 80
    used = len(render(tokenizer, [prompt])[0])
    assert used < model.config.max_position_embeddings
    answers(model, tokenizer, [prompt], max_new_tokens=500)
    with pytest.raises(ValueError, match="context"):
        answers(model, tokenizer, ["alpha", "alpha " * 500])


def test_conversations_and_questions_are_rendered_alike(model_and_tokenizer):
    _, tokenizer = model_and_tokenizer
    assert render(tokenizer, ["q"]) == render(tokenizer, [[{"role": "user", "content": "q"}]])
    assert render(tokenizer, []) == []


@pytest.mark.parametrize("wrong", [{"samples": 2}, {"samples": 0}, {"temperature": -1.0}])
def test_senseless_arguments_are_refused(model_and_tokenizer, wrong):
    with pytest.raises(ValueError):
        answers(*model_and_tokenizer, ["q"], **wrong)


def test_a_batch_may_stop_the_rest(model_and_tokenizer):
    seen = []

    def stop(count):
        seen.append(count)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        answers(*model_and_tokenizer, PROMPTS, batch_size=2, max_new_tokens=2, on_batch=stop)
    assert seen == [2]
