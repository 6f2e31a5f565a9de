"""Learning rates and batch sizes as functions of the step."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from components.pretrain.data import Batches
from components.training import factor


@pytest.mark.parametrize("schedule", ["cosine", "linear", "wsd", "constant"])
@given(steps=st.integers(1, 500), warmup=st.floats(0, 0.8), share=st.floats(0, 1))
def test_schedule_rises_then_never_rises_again(schedule, steps, warmup, share):
    values = [factor(step, steps, schedule=schedule, warmup_ratio=warmup, min_lr_ratio=share) for step in range(steps)]
    rise = round(warmup * steps)
    assert all(0 <= value <= 1 for value in values)
    assert values[:rise] == sorted(values[:rise])
    assert values[rise:] == sorted(values[rise:], reverse=True)
    if steps - rise > 1:
        assert values[rise] == pytest.approx(1)
        assert values[-1] == pytest.approx(1 if schedule == "constant" else share)


def test_wsd_stays_and_falls_in_the_last_part():
    values = [factor(s, 100, schedule="wsd", warmup_ratio=0.1, min_lr_ratio=0.1, decay_ratio=0.2) for s in range(100)]
    assert set(values[10:80]) == {1.0}
    assert values[79:] == pytest.approx([1 - 0.9 * k / 20 for k in range(21)])


@pytest.mark.parametrize(
    ("ours", "theirs"), [("cosine", "cosine"), ("linear", "linear"), ("constant", "constant_with_warmup")]
)
@pytest.mark.parametrize(("steps", "warmup"), [(60, 0.04), (7, 0.0), (10, 0.5)])
def test_counted_from_zero_the_factors_are_those_of_transformers_to_the_last_bit(ours, theirs, steps, warmup):
    from transformers import get_scheduler

    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
    scheduler = get_scheduler(theirs, optimizer, num_warmup_steps=round(warmup * steps), num_training_steps=steps)
    for step in range(steps):
        own = factor(step, steps, schedule=ours, warmup_ratio=warmup, min_lr_ratio=0.0, from_zero=True)
        assert own == scheduler.get_last_lr()[0]
        optimizer.step()
        scheduler.step()


@given(
    size=st.integers(1, 40),
    start=st.integers(1, 40),
    ramp=st.integers(1, 5000),
    multiple=st.integers(1, 4),
    steps=st.integers(0, 300),
)
def test_a_ramp_rises_to_the_full_batch_and_leaves_no_sequence_out(size, start, ramp, multiple, steps):
    size, start = size * multiple, min(start, size) * multiple
    batches = Batches(size, 8, start=start, ramp_tokens=ramp, multiple=multiple)
    sizes = [batches.size(step) for step in range(steps)]
    assert sizes == sorted(sizes) and all(start <= each <= size and each % multiple == 0 for each in sizes)
    assert [batches.before(step) for step in range(steps + 1)] == [sum(sizes[:step]) for step in range(steps + 1)]
    # Once the ramp's tokens are seen, every batch is full.
    assert all(each == size for step, each in enumerate(sizes) if batches.tokens(step) >= ramp)
    sequences = batches.before(steps)
    assert batches.steps(sequences) == max(1, steps)
    assert batches.steps(sequences + 1) == steps + 1


def test_without_a_ramp_every_batch_is_full():
    batches = Batches(4, 10)
    assert [batches.size(0), batches.before(3), batches.tokens(3), batches.steps(9)] == [4, 12, 120, 3]
