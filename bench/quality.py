"""Bits a byte on the same held-out text after equal processor time.

A trainer's steps for a budget are the budget over its seconds a step (measured by the speed part on one core), so
that its schedule ends where its budget does and the result depends neither on the machine's other work nor on luck.
Each peer runs in the precision that is faster on this processor, and everybody at the best of three learning rates at
the middle budget, chosen on the text that is reported.
"""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from bench.cells import Bench, Cell
from bench.variants import LEARNING_RATES, VARIANTS, Variant


@dataclass(frozen=True)
class Contestant:
    """A trainer in the form in which it is compared, and its processor seconds a step."""

    variant: Variant
    seconds: float

    def steps(self, budget: float) -> int:
        return max(2, round(budget / self.seconds))


def contestants(speed: Sequence[dict[str, Any]]) -> list[Contestant]:
    """Our default, and each peer in its faster precision, by the speed part's rows of one core."""
    seconds = {row["variant"]: row["cpu_seconds_per_step"] for row in speed if row["cores"] == 1}
    best: dict[str, Contestant] = {}
    for name, variant in VARIANTS.items():
        if name not in seconds or (variant.trainer == "stemma" and name != "stemma"):
            continue
        if variant.trainer not in best or seconds[name] < best[variant.trainer].seconds:
            best[variant.trainer] = Contestant(variant, seconds[name])
    return list(best.values())


def measure(bench: Bench, field: Sequence[Contestant], *, budgets: Sequence[float], seeds: int, jobs: int) -> None:
    """Run what is missing: the sweep of the rates first, then every budget and seed, ``jobs`` at a time."""
    bench.measure_all([cell for one in field for cell in _sweep(one, budgets)], jobs)
    cells = [
        _cell(one, budget, seed, _best_rate(bench, one, budgets))
        for budget in sorted(budgets)
        for seed in range(seeds)
        for one in field
    ]
    bench.measure_all(cells, jobs)


def remaining_seconds(bench: Bench, field: Sequence[Contestant], *, budgets: Sequence[float], seeds: int) -> float:
    """Processor seconds of training that are still to be spent."""
    sweep = [(one, cell) for one in field for cell in _sweep(one, budgets)]
    spent = sum(one.seconds * cell.steps for one, cell in sweep if not bench.known(cell))
    for one in field:
        rate = _best_rate(bench, one, budgets) if all(bench.known(cell) for cell in _sweep(one, budgets)) else None
        for budget in budgets:
            for seed in range(seeds):
                cell = _cell(one, budget, seed, rate)
                # Before the sweep it is not known which cells there are.
                if rate is None or not bench.known(cell):
                    spent += one.seconds * cell.steps
    return spent


def summarise(
    bench: Bench, field: Sequence[Contestant], *, budgets: Sequence[float], seeds: int
) -> list[dict[str, Any]]:
    """A row for each budget and trainer that is finished: mean, least and most over the seeds."""
    rows = []
    for budget in sorted(budgets):
        for one in field:
            if not all(bench.known(cell) for cell in _sweep(one, budgets)):
                continue
            rate = _best_rate(bench, one, budgets)
            cells = [_cell(one, budget, seed, rate) for seed in range(seeds)]
            results = [bench.measure(cell, ()) for cell in cells if bench.known(cell)]
            if not results:
                continue
            bits = [result["score"]["bits_per_byte"] for result in results]
            rows.append(
                {
                    "budget": budget,
                    "variant": one.variant.name,
                    "title": one.variant.title,
                    "trainer": one.variant.trainer,
                    "learning_rate": rate,
                    "steps": cells[0].steps,
                    "seeds": len(results),
                    "bits_per_byte": statistics.mean(bits),
                    "bits_per_byte_range": [min(bits), max(bits)],
                    "cpu_seconds": statistics.mean(sum(result["cpu"]) for result in results),
                    "held_out_tokens": results[0]["score"]["tokens"],
                }
            )
    return rows


def _sweep(one: Contestant, budgets: Sequence[float]) -> list[Cell]:
    middle = sorted(budgets)[len(budgets) // 2]
    return [_cell(one, middle, 0, rate) for rate in LEARNING_RATES]


def _best_rate(bench: Bench, one: Contestant, budgets: Sequence[float]) -> float:
    return min(_sweep(one, budgets), key=lambda cell: bench.measure(cell, ())["score"]["bits_per_byte"]).learning_rate


def _cell(one: Contestant, budget: float, seed: int, rate: float | None) -> Cell:
    return Cell(one.variant, 1, one.steps(budget), seed=seed, learning_rate=rate, score=True)
