"""The ladder: every size at every length, run as the trials of a sweep; and what came of each."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from optuna.trial import TrialState

from components.planning.options import parse_count
from components.planning.scaling_law import LEAST_LENGTHS, LEAST_SIZES, Observation
from components.pretrain.presets import PRESETS
from core.errors import InputProblem
from core.workspace import Workspace
from flows.sweeps.definition import Asked, Sweep, define
from flows.sweeps.study import Study, measured_of

METRIC = "pretrain:validation_loss"
#: What of a training's length, budget and size the ladder itself decides.
_OWN = ("pretrain.architecture", "pretrain.tokens", "pretrain.steps", "pretrain.epochs", "pretrain.seed")
PREFIX = "scale-"


@dataclass(frozen=True)
class Rung:
    """A training of the ladder that ended.

    Attributes:
        size: its preset.
        seconds: that it took, with every attempt.
        devices: that shared it.
    """

    run: str
    size: str
    training: Observation
    stderr: float | None
    seconds: float
    devices: int

    @property
    def flops_per_device_second(self) -> float:
        """6ND a second and device, start and validation included."""
        return self.training.flops / (self.seconds * self.devices)


def ladder(
    workspace: Workspace,
    sizes: Sequence[str],
    tokens: Sequence[str],
    *,
    seeds: int = 1,
    assignments: Sequence[str] = (),
    parallel: int = 1,
    name: str | None = None,
) -> Sweep:
    """The sweep over presets and numbers of training tokens; changes nothing.

    Args:
        assignments: ``PATH=VALUE`` that hold for all trainings.

    Raises:
        InputProblem: every problem at once.
    """
    found = [f"--sizes {size}: no preset is called so; `stemma params pretrain` lists them" for size in sizes
             if size not in PRESETS]  # fmt: skip
    if len(set(sizes)) < LEAST_SIZES:
        found.append(f"--sizes: a law needs {LEAST_SIZES} different sizes or more, and {len(set(sizes))} are given")
    counts: list[int] = []
    for text in tokens:
        try:
            counts.append(parse_count(text))
        except ValueError as error:
            found.append(f"--tokens {error}")
    if len(set(counts)) < LEAST_LENGTHS and not any(line.startswith("--tokens ") for line in found):
        found.append(f"--tokens: a law needs {LEAST_LENGTHS} different lengths or more, such as 1M,2M,4M")
    if seeds < 1:
        found.append(f"--seeds {seeds}: must be 1 or more")
    for text in assignments:
        path = text.partition("=")[0].strip()
        if any(path == own or path.startswith(f"{own}.") for own in _OWN):
            found.append(f"--set {path}: the ladder sets it itself")
    if found:
        raise InputProblem(found)
    asked = [
        f"pretrain.architecture={','.join(f'{{preset: {size}}}' for size in dict.fromkeys(sizes))}",
        f"pretrain.tokens={','.join(map(str, sorted(set(counts))))}",
        "pretrain.steps=null",
        "pretrain.epochs=null",
    ]
    if seeds > 1:
        asked.append(f"pretrain.seed=1..{seeds}")
    sweep = define(workspace, Asked((*asked, *assignments), METRIC, parallel=parallel, name=name))
    # What all trainings have in common is brought up to date with a budget too, whichever.
    fixed = {**sweep.fixed, "pretrain.tokens": min(counts)}
    return replace(sweep, fixed=fixed, name=name or sweep.name.replace("sweep-", PREFIX, 1))


def is_ladder(sweep: Sweep) -> bool:
    """Whether a sweep was made by :func:`ladder`, so that a law can be fitted to its trials."""
    paths = {each.path for each in sweep.dimensions}
    return {"pretrain.architecture", "pretrain.tokens"} <= paths and str(sweep.metric) == METRIC


def rungs(study: Study) -> list[Rung]:
    """The trainings that ended, by size and length."""
    found = [
        _rung(study.run_name(trial), study.values(trial)["pretrain.architecture"]["preset"], measured_of(trial))
        for trial in study.trials
        if trial.state == TrialState.COMPLETE
    ]
    return sorted(found, key=lambda rung: (rung.training.parameters, rung.training.tokens))


def training_of(receipt: dict[str, Any]) -> tuple[Observation, float | None]:
    """Size, length and loss of a pretraining by its receipt, and the loss's standard error.

    Raises:
        InputProblem: it is of no training.
    """
    metrics = {each["name"]: each for each in receipt.get("metrics", [])}
    if not {"parameters", "validation_loss"} <= metrics.keys() or not receipt.get("tokens"):
        raise InputProblem("receipts/pretrain.json is of no training that had a validation loss: run pretrain first")
    loss = metrics["validation_loss"]
    return Observation(metrics["parameters"]["value"], receipt["tokens"], loss["value"]), loss.get("stderr")


def _rung(run: str, size: str, measured: dict[str, Any]) -> Rung:
    training, stderr = training_of(measured)
    return Rung(run, size, training, stderr, measured["seconds"], measured.get("processes") or 1)
