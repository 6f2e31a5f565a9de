"""Tokens a second: every trainer in turn, round after round, so that a busy minute falls on all of them."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from typing import Any

from bench.cells import Bench, Cell
from bench.variants import Variant

WARM = 2  # steps left out at the beginning of each run; the first one compiles


def measure(
    bench: Bench, variants: Sequence[Variant], *, cores: int, rounds: int, steps: int, slow_steps: int, jobs: int = 1
) -> None:
    """Run what is missing of ``rounds`` rounds.

    Args:
        jobs: runs side by side, where they are of one core each.
        steps: steps of a run.
        slow_steps: steps of a run in bfloat16 where the processor emulates it.
    """
    cells = [
        _cell(bench, variant, cores, number, steps, slow_steps) for number in range(rounds) for variant in variants
    ]
    bench.measure_all(cells, jobs if cores == 1 else 1)


def summarise(
    bench: Bench, variants: Sequence[Variant], *, cores: int, rounds: int, steps: int, slow_steps: int
) -> list[dict[str, Any]]:
    """A row for each variant that was measured: medians and quartiles over the steps of all its rounds."""
    rows = []
    tokens = bench.batch * bench.context
    for variant in variants:
        cells = [_cell(bench, variant, cores, number, steps, slow_steps) for number in range(rounds)]
        results = [bench.measure(cell, ()) for cell in cells if bench.known(cell)]
        if not results:
            continue
        wall = sorted(second for result in results for second in result["wall"][WARM:])
        cpu = [second for result in results for second in result["cpu"][WARM:]]
        low, high = (wall[0], wall[-1]) if len(wall) < 4 else statistics.quantiles(wall, n=4)[::2]
        rows.append(
            {
                "variant": variant.name,
                "title": variant.title,
                "cores": cores,
                "steps": len(wall),
                "rounds": len(results),
                "tokens_per_second": tokens / statistics.median(wall),
                "tokens_per_second_quartiles": [tokens / high, tokens / low],
                "tokens_per_cpu_second": tokens / statistics.median(cpu),
                "cpu_seconds_per_step": statistics.median(cpu),
                "warmup_seconds": statistics.median(
                    result["wall"][0] - statistics.median(result["wall"][WARM:]) for result in results
                ),
                "peak_gb": max(result["peak"] for result in results) / 1e9,
            }
        )
    return rows


def _cell(bench: Bench, variant: Variant, cores: int, number: int, steps: int, slow_steps: int) -> Cell:
    slow = variant.precision == "bf16" and not bench.results.machine["bf16_units"]
    return Cell(variant, cores, slow_steps if slow else steps, seed=number, round=number)
