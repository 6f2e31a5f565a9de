"""What a sweep will take, before it starts: ``stemma plan`` of its trials, and the last run of what is not planned."""

from __future__ import annotations

import statistics
import tempfile
from dataclasses import dataclass
from pathlib import Path

from components.harness import libraries
from core import parameters_file
from core.numbers import count, duration, figure
from core.workspace import Workspace
from flows.pipeline import report
from flows.pipeline.planning import PROBE_SECONDS, Planner, training_data
from flows.sweeps import space
from flows.sweeps.definition import Sweep
from registry.lineage.cost import CostParameters

MOST_PLANNED = 6  # trials; the mean of a few, spread over the grid, stands for all
PATIENCE = 90.0 + PROBE_SECONDS


@dataclass(frozen=True)
class Plan:
    """Times and money of a whole sweep.

    Attributes:
        seconds: of one trial, in the mean; ``None`` where none of its stages is known.
        device_hours: of all trials.
        money: of all trials, by ``cost`` of ``params.yaml``; ``None`` without a price of the device.
        hours: from the beginning to the end, with so many trials at once on devices of their own.
        unknown: stages of which nothing is known yet.
    """

    trials: int
    parallel: int
    seconds: float | None
    device_hours: float
    money: float | None
    currency: str
    hours: float
    planned: int
    unknown: tuple[str, ...]

    def __str__(self) -> str:
        if self.seconds is None:
            unknown = ", ".join(self.unknown)
            return f"{self.trials} trials; how long they take is not known yet ({unknown}: never run here)"
        words = f"{self.trials} trials of about {duration(self.seconds)}"
        words += f" (planned: {self.planned})" if self.planned and self.planned < self.trials else ""
        words += f": {duration(self.hours * 3600)}"
        words += f" with {self.parallel} at once, where each has a device of its own" if self.parallel > 1 else ""
        words += f"; {count(self.device_hours)} device hours" if self.device_hours >= 0.01 else ""
        words += "" if self.money is None else f", {figure(self.money)} {self.currency}"
        more = f" (without {', '.join(self.unknown)}, of which nothing is known yet)" if self.unknown else ""
        return words + more


def plan(workspace: Workspace, sweep: Sweep, parallel: int, trials: int) -> Plan:
    """The plan of so many trials of a sweep; where none is made, by what their stages took last. Changes nothing."""
    root, own = workspace.root, [stage for stage in sweep.stages if stage not in sweep.shared]
    cost = CostParameters.load(root)
    combinations = _some(space.grid(sweep.dimensions) if sweep.sampler == "grid" else space.corners(sweep.dimensions))
    planned = _planned(root, sweep, own, combinations)
    seconds, hours, money, unknown = 0.0, 0.0, 0.0, []
    priced = True
    for stage in own:
        if plans := planned.get(stage):
            seconds += statistics.fmean(each["time"]["seconds"] for each in plans)
            in_hours = statistics.fmean(each["time"]["device_hours"] for each in plans)
            device = plans[0]["device"]["name"]
        elif (receipt := report.receipt(root, stage)) and receipt.get("seconds"):
            seconds += receipt["seconds"]
            in_hours = receipt["seconds"] * (receipt.get("processes") or 1) / 3600
            device = receipt.get("device") or "cpu"
        else:
            unknown.append(stage)
            continue
        price = cost.price(device)
        hours, priced = hours + in_hours, priced and price is not None
        money += in_hours * (price or 0.0)
    rounds = -(-trials // parallel)
    return Plan(
        trials=trials,
        parallel=parallel,
        seconds=seconds if len(unknown) < len(own) else None,
        device_hours=hours * trials,
        money=money * trials if priced else None,
        currency=cost.currency,
        hours=rounds * seconds / 3600,
        planned=len(combinations) if planned else 0,
        unknown=tuple(unknown),
    )


def _planned(root: Path, sweep: Sweep, stages: list[str], combinations: list[dict]) -> dict[str, list[dict]]:
    """Plans of the training stages whose data is there, one for each combination."""
    training = [
        stage for stage in stages if (data := training_data(stage)) is not None and (root / data).is_dir()
    ]  # fmt: skip
    found: dict[str, list[dict]] = {}
    if not training:
        return found
    with tempfile.TemporaryDirectory() as folder:
        prefork = libraries.prefork((), libraries.TRAINING)  # plans alone come from it
        planner = Planner(root, Path(folder) / "answers", prefork)
        try:
            for number, combination in enumerate(combinations):
                params = Path(folder, f"{number}.yaml")
                params.write_bytes((root / "params.yaml").read_bytes())
                parameters_file.write(params, {**sweep.fixed, **combination})
                for stage in training:
                    if (made := planner.plan(stage, PATIENCE, params=params).ready()) is not None:
                        found.setdefault(stage, []).append(made)
        finally:
            planner.close()
            if prefork is not None:
                prefork.close()
    return found


def _some(combinations: list[dict]) -> list[dict]:
    """At most :data:`MOST_PLANNED` of them, evenly spread, the first and the last among them."""
    if len(combinations) <= MOST_PLANNED:
        return combinations
    last = len(combinations) - 1
    return [combinations[round(number * last / (MOST_PLANNED - 1))] for number in range(MOST_PLANNED)]
