"""``stemma scale``: a ladder of small trainings, the scaling law fitted to them, and the best size for a budget."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from core.workspace import Workspace

EPILOG = """[bold]Examples[/]

stemma scale --sizes depth-2,depth-3,depth-4 --tokens 200k,400k,800k --plan

stemma scale --sizes depth-2,depth-3,depth-4 --tokens 200k,400k,800k --hours 2

stemma scale show NAME --flops 1e18

stemma scale check NAME                     hold the workspace's last pretraining against it
"""
Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]
Name = Annotated[str, typer.Argument(metavar="NAME", help="Name of the ladder; see `stemma sweep list`.")]
Flops = Annotated[float | None, typer.Option(metavar="N", min=1, help="Budget in FLOP, counted as 6ND.")]
Hours = Annotated[float | None, typer.Option(metavar="N", min=1e-3, help="Budget in hours, at the ladder's speed.")]
Count = Annotated[int, typer.Option("--devices", metavar="N", min=1, help="Devices of the budget in hours.")]


def register(app: typer.Typer) -> None:
    group = typer.Typer(invoke_without_command=True, epilog=EPILOG, rich_markup_mode="rich")
    group.callback(epilog=EPILOG)(scale)
    group.command()(show)
    group.command()(check)
    app.add_typer(group, name="scale")


def scale(
    context: typer.Context,
    sizes: Annotated[str, typer.Option(metavar="A,B,C", help="Presets, three or more.")] = "",
    tokens: Annotated[str, typer.Option(metavar="N,M", help="Training tokens, such as 1M,2M,4M.")] = "",
    seeds: Annotated[int, typer.Option(metavar="N", help="Trainings of each size and length.")] = 1,
    assignments: Annotated[
        list[str] | None, typer.Option("--set", metavar="PATH=VALUE", help="Holds for all trainings; repeat.")
    ] = None,
    parallel: Annotated[int, typer.Option(metavar="N", help="Trainings at once.")] = 1,
    name: Annotated[str | None, typer.Option(metavar="NAME", help="Name of the ladder; else made up.")] = None,
    flops: Flops = None,
    hours: Hours = None,
    devices: Count = 1,
    plan: Annotated[bool, typer.Option("--plan", help="Say what the ladder will take, and end.")] = False,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print the result as JSON, and progress to standard error.")
    ] = False,
) -> None:
    """Train every size on every number of tokens, and fit a scaling law to the losses.

    The same command again goes on where it was killed. Your files stay as they are.
    """
    if context.invoked_subcommand is not None:
        return
    from rich.console import Console

    from core.processes import signals_as_exceptions
    from core.workspace import Workspace
    from flows.scaling.ladder import ladder
    from flows.sweeps import execute
    from flows.sweeps.plan import plan as planned
    from flows.sweeps.study import left

    _one_budget(flops, hours)
    console = Console(stderr=as_json, soft_wrap=True)
    workspace = Workspace.find()
    defined = ladder(
        workspace, _listed(sizes), _listed(tokens), seeds=seeds, assignments=assignments or (), parallel=parallel,
        name=name,
    )  # fmt: skip
    say = lambda message: console.print(message, highlight=False, markup=False)  # noqa: E731
    if trials := left(workspace.home, defined):
        say(f"{defined.name}: {planned(workspace, defined, parallel, trials)}")
    if plan:
        return
    with signals_as_exceptions():
        execute.run(workspace, defined, parallel, say)
    _report(workspace, defined.name, flops, hours, devices, as_json)


def show(name: Name, flops: Flops = None, hours: Hours = None, devices: Count = 1, as_json: Json = False) -> None:
    """Show a ladder's law, and the best size and length for a budget."""
    from core.workspace import Workspace

    _one_budget(flops, hours)
    _report(Workspace.find(), name, flops, hours, devices, as_json)


def check(name: Name, as_json: Json = False) -> None:
    """Hold the workspace's last pretraining against a ladder's law."""
    from dataclasses import asdict

    from cli.output import print_json, say
    from core.errors import InputProblem
    from core.numbers import count, measured
    from core.workspace import Workspace
    from flows.pipeline import report
    from flows.scaling import ladder, result

    workspace = Workspace.find()
    rungs = _rungs(workspace, name)
    receipt = report.receipt(workspace.root, "pretrain")
    if receipt is None:
        raise InputProblem("receipts/pretrain.json: there is none: run pretrain first")
    held = result.hold(result.law_of(rungs), *ladder.training_of(receipt))
    if as_json:
        print_json(asdict(held) | {"inside": held.predicted.holds(held.training.loss)})
        return
    training = held.training
    say(f"{count(training.parameters)} parameters on {count(training.tokens)} tokens ({training.flops:.3g} FLOP):")
    say(f"  loss      {measured(training.loss, held.stderr)}")
    say(f"  predicted {result.shown(held.predicted)}")
    say(f"  {held.verdict}")


def _report(
    workspace: Workspace, name: str, flops: float | None, hours: float | None, devices: int, as_json: bool
) -> None:
    from cli.output import print_json, print_table, say
    from core import layout
    from core.numbers import count, duration, measured
    from flows.scaling import result

    rungs = _rungs(workspace, name)
    law = result.law_of(rungs)
    if hours is not None:
        flops = result.flops_of_hours(rungs, hours, devices)
    spent = result.best(law, rungs, flops, devices) if flops is not None else None
    page: Path = result.write_page(layout.sweep(workspace.home, name), name, rungs, law, spent)
    if as_json:
        print_json(result.as_dict(name, rungs, law, spent))
        return
    rows: list[list[Any]] = []
    for rung in rungs:
        one = rung.training
        by_law = f"{law.loss.loss(one.parameters, one.tokens):.4g}"
        loss, took = measured(one.loss, rung.stderr), duration(rung.seconds)
        rows.append([rung.size, count(one.parameters), count(one.tokens), f"{one.flops:.3g}", loss, by_law, took])
    print_table(("size", "parameters", "tokens", "FLOP (6ND)", "loss", "by the law", "time"), rows)
    print()
    print_table(("L = E + A/N^alpha + B/D^beta", "value (95 % interval)"), result.constants(law))
    for line in result.sentences(spent) if spent is not None else []:
        say(line)
    say(f"Page: {page}")


def _rungs(workspace: Workspace, name: str) -> list[Any]:
    from core.errors import InputProblem
    from flows.scaling import ladder
    from flows.sweeps.study import Study

    study = Study.load(workspace.home, name)
    if not ladder.is_ladder(study.sweep):
        raise InputProblem(f"{name}: is a sweep and no ladder: `stemma sweep show {name}` shows it")
    return ladder.rungs(study)


def _listed(text: str) -> list[str]:
    return [part.strip() for part in text.split(",") if part.strip()]


def _one_budget(flops: float | None, hours: float | None) -> None:
    from core.errors import InputProblem

    if flops is not None and hours is not None:
        raise InputProblem("--flops and --hours: give one budget")
