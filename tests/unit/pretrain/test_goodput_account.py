"""Where the seconds of an interrupted run went, on a run made by hand."""

from __future__ import annotations

import random

import pytest

from bench import faults
from bench.goodput import Attempt, account


def test_seconds_are_counted_once_and_steps_done_again_are_lost():
    first = Attempt(started=0.0, ended=16.0, fault="x", steps={1: 11.0, 2: 12.0, 3: 13.5}, blocked={2: 0.5})
    second = Attempt(started=16.0, ended=33.0, steps={3: 27.0, 4: 28.0, 5: 29.0}, blocked={4: 0.0})
    made = account([first, second])
    assert made.wall == 33
    assert (made.productive, made.lost, made.blocked) == (5.0, 1.0, 0.5)
    assert (made.starting, made.stopping, made.finishing) == (20.0, 2.5, 4.0)
    assert made.effective == pytest.approx(5 / 33)
    assert made.cost == pytest.approx(1.0 + 2.5 + 10.0)
    assert made.effective_at(100) == pytest.approx(1 / (1 + 0.1 + 0.135))


def test_a_plan_is_its_seed_and_leaves_no_kind_out():
    plan = faults.plan(random.Random(5), 12.0, 100, faults.KINDS)
    assert plan == faults.plan(random.Random(5), 12.0, 100, faults.KINDS)
    for start in range(0, 100, len(faults.KINDS)):
        assert {fault for _, fault in plan[start : start + len(faults.KINDS)]} == set(faults.KINDS)
    assert sum(after for after, _ in plan) / 100 == pytest.approx(12.0, rel=0.3)
