"""What a ladder says: its law, the best size and length for a budget, a later training held against it; its page."""

from __future__ import annotations

import operator
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from components.pages.page import Page
from components.planning.flops import tokens_by_rule, training_flops
from components.planning.scaling_law import Interval, Observation, ScalingLaw, fit
from core import files
from core.errors import InputProblem
from core.numbers import count, duration, figure
from flows.scaling.ladder import Rung

APPROACHES = {"envelope": "1, lowest loss at each compute", "profiles": "2, parabolas at equal compute"}


@dataclass(frozen=True)
class Best:
    """How a budget is best spent.

    Attributes:
        flops: the budget, as 6ND.
        parameters: by the law in closed form; ``others``: by the other approaches.
        beyond: how many times the compute of the ladder's largest training.
        seconds: at the speed of the ladder's fastest training, on as many devices.
    """

    flops: float
    parameters: Interval
    tokens: Interval
    loss: Interval
    others: dict[str, float]
    beyond: float
    seconds: float


def law_of(rungs: Sequence[Rung]) -> ScalingLaw:
    """The law fitted to a ladder.

    Raises:
        InputProblem: too few trainings have ended.
    """
    try:
        return fit([rung.training for rung in rungs])
    except ValueError as error:
        raise InputProblem(f"no law yet: {error}") from None


def flops_of_hours(rungs: Sequence[Rung], hours: float, devices: int) -> float:
    """FLOPs (6ND) of so many hours at the speed of the ladder's fastest training."""
    return max(rung.flops_per_device_second for rung in rungs) * devices * hours * 3600


def best(law: ScalingLaw, rungs: Sequence[Rung], flops: float, devices: int) -> Best:
    """Size, length and loss for a budget."""
    others = {name: getattr(law, name).parameters(flops) for name in APPROACHES if getattr(law, name) is not None}
    parameters = law.interval(lambda each: each.optimal(flops)[0])
    return Best(
        flops,
        parameters,
        law.interval(lambda each: each.optimal(flops)[1]),
        law.predicted(*law.loss.optimal(flops)),
        others,
        flops / max(rung.training.flops for rung in rungs),
        flops / (max(rung.flops_per_device_second for rung in rungs) * devices),
    )


@dataclass(frozen=True)
class CheckedPrediction:
    """A later training beside what the law said of it."""

    training: Observation
    stderr: float | None
    predicted: Interval

    @property
    def verdict(self) -> str:
        inside = self.predicted.holds(self.training.loss)
        off = self.training.loss / self.predicted.value - 1
        where = {True: "inside the interval", False: "outside the interval", None: "without an interval"}[inside]
        return f"{abs(off):.2%} {'above' if off > 0 else 'below'} the prediction, {where}"


def hold(law: ScalingLaw, training: Observation, stderr: float | None) -> CheckedPrediction:
    """A later training held against the law."""
    return CheckedPrediction(training, stderr, law.predicted(training.parameters, training.tokens))


def shown(interval: Interval, write: Any = figure) -> str:
    """``1.95 (1.93 to 1.98)``: the value and its 95 % interval."""
    if interval.low is None:
        return f"{write(interval.value)} (no interval: too few trainings)"
    return f"{write(interval.value)} ({write(interval.low)} to {write(interval.high)})"


def constants(law: ScalingLaw) -> list[tuple[str, str]]:
    """The law's constants with their intervals, in words."""
    names = {"E": "entropy", "A": "a", "B": "b", "alpha": "alpha", "beta": "beta"}
    found = [(sign, shown(law.interval(operator.attrgetter(name)))) for sign, name in names.items()]
    exponent = law.interval(lambda each: each.beta / (each.alpha + each.beta))
    found.append(("best size grows as compute^", shown(exponent)))
    for name, title in APPROACHES.items():
        power = getattr(law, name)
        found.append((f"the same by approach {title}", law.missing[name] if power is None else f"{power.exponent:.3g}"))
    return found


def sentences(spent: Best) -> list[str]:
    """The best way to spend a budget, a line each."""
    lines = [
        f"For {spent.flops:.3g} FLOP (6ND), {spent.beyond:.3g} times the ladder's largest training: "
        f"{shown(spent.parameters, count)} parameters on {shown(spent.tokens, count)} tokens, "
        f"{spent.tokens.value / spent.parameters.value:.3g} a parameter "
        f"(rule of thumb: {tokens_by_rule(1):.0f}); loss {shown(spent.loss)}; "
        f"{duration(spent.seconds)} at the ladder's best speed"
    ]
    lines += [f"  by approach {APPROACHES[name]}: {count(size)} parameters" for name, size in spent.others.items()]
    if spent.beyond > 100:
        lines.append("  more than 100 times the ladder's compute: add larger rungs before you spend it")
    return lines


def as_dict(name: str, rungs: Sequence[Rung], law: ScalingLaw, spent: Best | None) -> dict[str, Any]:
    """Everything as JSON has it."""
    body = asdict(law)
    body.pop("samples")
    body.pop("trainings")
    names = ("entropy", "a", "b", "alpha", "beta")
    intervals = {each: asdict(law.interval(operator.attrgetter(each))) for each in names}
    return {
        "ladder": name,
        "trainings": [asdict(rung) for rung in rungs],
        "law": body | {"intervals": intervals},
        "best": asdict(spent) if spent else None,
    }


def write_page(folder: Path, name: str, rungs: Sequence[Rung], law: ScalingLaw, spent: Best | None) -> Path:
    """The ladder's page ``scale.html`` in ``folder``, with its figures beside it."""
    folder.mkdir(parents=True, exist_ok=True)
    page = Page(f"Scaling law: {name}", f"{len(rungs)} trainings; loss in nats a token on the validation split.")
    page.heading("L(N, D) = E + A / N^alpha + B / D^beta").table(("constant", "value (95 % interval)"), constants(law))
    page.figure(_figure(folder / "scale.png", rungs, law), "Loss of each training by compute, and the law's lines")
    if spent is not None:
        page.heading("Budget")
        for line in sentences(spent):
            page.text(line.strip())
    rows = [
        (rung.size, rung.training.parameters, rung.training.tokens, f"{rung.training.flops:.3g}", rung.training.loss,
         law.loss.loss(rung.training.parameters, rung.training.tokens), duration(rung.seconds), rung.run)
        for rung in rungs
    ]  # fmt: skip
    page.heading("Trainings").table(
        ("size", "parameters", "tokens", "FLOP (6ND)", "loss", "by the law", "time", "run"), rows
    )
    path = folder / "scale.html"
    files.write_text(path, page.html())
    return path


def _figure(path: Path, rungs: Sequence[Rung], law: ScalingLaw) -> Path:
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt
    import numpy as np

    drawn, axes = plt.subplots(figsize=(7, 4.5))
    for size in dict.fromkeys(rung.size for rung in rungs):
        own = [rung.training for rung in rungs if rung.size == size]
        (line,) = axes.plot([each.flops for each in own], [each.loss for each in own], "o", label=size)
        tokens = np.geomspace(min(each.tokens for each in own), max(each.tokens for each in own), 50)
        parameters = own[0].parameters
        losses = [law.loss.loss(parameters, float(each)) for each in tokens]
        axes.plot([training_flops(parameters, float(each)) for each in tokens], losses, color=line.get_color())
    flops = [rung.training.flops for rung in rungs]
    budgets = np.geomspace(min(flops), 10 * max(flops), 60)
    axes.plot(budgets, [law.loss.loss(*law.loss.optimal(float(each))) for each in budgets], "k--", label="best size")
    axes.set(xscale="log", xlabel="FLOP (6ND)", ylabel="validation loss, nats a token")
    axes.legend()
    drawn.savefig(path, dpi=110, bbox_inches="tight", metadata={"Software": None})
    plt.close(drawn)
    return path
