"""The shares of an evaluation are the batches that the harness itself makes."""

from __future__ import annotations

import random

import pytest

from components.evaluate.shares import generation_batches, likelihood_batches


@pytest.mark.parametrize("rows", [1, 3, 100])
@pytest.mark.parametrize("seed", range(3))
def test_likelihoods(rows, seed):
    from lm_eval.models.utils import Collator

    draw = random.Random(seed)
    requests = []
    for number in range(40):
        context = [draw.randrange(3) for _ in range(draw.randrange(1, 5))]
        tail = [draw.randrange(3) for _ in range(draw.randrange(2))]
        # Several answers of one token to the same context, and some requests twice.
        requests += [((number, answer), context, [*tail, answer]) for answer in range(draw.randrange(1, 4))]
    requests += draw.sample(requests, 5)

    def order(request):
        tokens = request[1] + request[2]
        return -len(tokens), tuple(tokens)

    theirs = Collator(requests, sort_fn=order, group_by="contexts", group_fn=lambda each: each[1] + each[2][:-1])
    own = likelihood_batches(requests, rows)
    assert sorted(place for batch in own for place in batch) == list(range(len(requests)))
    for mine, batch in zip(own, theirs.get_batched(n=rows), strict=True):
        keys = {tuple(context + answer[:-1]) for _, context, answer in batch}
        assert {tuple(requests[place][1] + requests[place][2][:-1]) for place in mine} == keys
        # As a copy gets it, it is that very batch.
        again = Collator([requests[place] for place in mine], sort_fn=order, group_by="contexts",
                         group_fn=lambda each: each[1] + each[2][:-1])  # fmt: skip
        assert list(again.get_batched(n=rows)) == [batch]


@pytest.mark.parametrize("rows", [1, 3, 100])
def test_generations(rows):
    from lm_eval.models.utils import Collator

    draw = random.Random(rows)
    settings = [{"until": ["\n"], "max_gen_toks": 5}, {"until": ["\n"], "max_gen_toks": 6}]
    asked = [("x" * draw.randrange(1, 9), settings[draw.randrange(2)]) for _ in range(30)]
    theirs = Collator(asked, sort_fn=lambda each: (-len(each[0]), each[0]), group_by="gen_kwargs",
                      group_fn=lambda each: each[1])  # fmt: skip
    own = [[asked[place] for place in batch] for batch in generation_batches(asked, rows, len)]
    assert own == list(theirs.get_batched(n=rows))
