"""``stemma sweep``: trials of several values of parameters, and the best of them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from core.workspace import Workspace
    from flows.sweeps.study import Study

EPILOG = """[bold]Examples[/]

stemma sweep --set pretrain.learning_rate=0.001,0.003,0.01 --metric validation_bits_per_byte

stemma sweep --set pretrain.learning_rate=0.001,0.003 --set pretrain.seed=1..3 --metric validation_loss --parallel 2

stemma sweep --set pretrain.learning_rate=1e-4..1e-2:log --metric validation_loss --sampler tpe --trials 30 --prune

stemma sweep list

stemma sweep show NAME

stemma sweep apply NAME                     write the winner into params.yaml
"""

Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]
Name = Annotated[str, typer.Argument(metavar="NAME", help="Name of the sweep; see `stemma sweep list`.")]


def register(app: typer.Typer) -> None:
    group = typer.Typer(invoke_without_command=True, epilog=EPILOG, rich_markup_mode="rich")
    group.callback(epilog=EPILOG)(sweep)
    group.command("list")(list_sweeps)
    group.command()(show)
    group.command()(apply)
    app.add_typer(group, name="sweep")


def sweep(
    context: typer.Context,
    assignments: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="PATH=VALUES", help="Values to try: a,b,c or LOW..HIGH[:STEP|:log]; repeat."),
    ] = None,
    metric: Annotated[str | None, typer.Option(metavar="NAME", help="What is compared: NAME or STAGE:NAME.")] = None,
    until: Annotated[
        str | None, typer.Option(metavar="STAGE", help="Last stage of a trial; else the one that makes the metric.")
    ] = None,
    sampler: Annotated[str, typer.Option(metavar="NAME", help="grid, random or tpe.")] = "grid",
    trials: Annotated[int | None, typer.Option(metavar="N", help="How many; a grid runs every combination.")] = None,
    prune: Annotated[bool, typer.Option("--prune", help="End trials that are worse than the median so far.")] = False,
    parallel: Annotated[int, typer.Option(metavar="N", help="Trials at once.")] = 1,
    name: Annotated[
        str | None, typer.Option(metavar="NAME", help="Name of the sweep; else made from what it varies.")
    ] = None,
    plan: Annotated[bool, typer.Option("--plan", help="Say what it will take, and end.")] = False,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print the result as JSON, and progress to standard error.")
    ] = False,
) -> None:
    """Try several values of parameters, each in a run of its own, and compare a metric.

    The same command again goes on where it was killed. Your files stay as they are until `stemma sweep apply`.
    """
    if context.invoked_subcommand is not None:
        return
    from rich.console import Console

    from core.errors import InputProblem
    from core.processes import signals_as_exceptions
    from core.workspace import Workspace
    from flows.sweeps.definition import Asked, define

    needed = (
        ("--set", assignments, "pretrain.learning_rate=0.001,0.003"),
        ("--metric", metric, "validation_bits_per_byte"),
    )
    if missing := [
        f"{option}: is missing; such as {option} {example}" for option, value, example in needed if not value
    ]:
        raise InputProblem(missing)
    console = Console(stderr=as_json, soft_wrap=True)
    workspace = Workspace.find()
    asked = Asked(tuple(assignments or ()), metric or "", until, sampler, trials, prune, parallel, name)
    defined = define(workspace, asked)
    from flows.sweeps import execute
    from flows.sweeps.plan import plan as planned
    from flows.sweeps.study import left as trials_left

    say = lambda message: console.print(message, highlight=False, markup=False)  # noqa: E731
    left = trials_left(workspace.home, defined)
    expected = planned(workspace, defined, parallel, left) if left else None
    if expected is not None:
        say(f"{defined.name}: {expected}")
    if plan:
        return

    def ready(tree: Workspace) -> None:
        if expected is not None and expected.seconds is None:  # what the trials read was not there before
            say(f"{defined.name}: {planned(tree, defined, parallel, left)}")

    with signals_as_exceptions():
        study = execute.run(workspace, defined, parallel, say, ready=ready)
    _print(workspace, study, as_json)


def list_sweeps(as_json: Json = False) -> None:
    """List the sweeps, the oldest first."""
    from cli.output import print_json, print_table
    from core.workspace import Workspace
    from flows.sweeps import execute, study, winner

    workspace = Workspace.find()
    rows = []
    for name in study.names(workspace.home):
        found = study.Study.load(workspace.home, name)
        best = winner.winner(found)
        states = ", ".join(f"{count} {state}" for state, count in execute.summary(found).items() if count)
        rows.append(
            {
                "sweep": name,
                "varies": ", ".join(found.sweep.short.values()),
                "metric": str(found.sweep.metric),
                "trials": states,
                "best": best.shown if best else "",
                "setting": found.sweep.label(best.values) if best else "",
                "running": execute.at_work(workspace, name),
            }
        )
    if as_json:
        print_json(rows)
    elif rows:
        header = ("sweep", "varies", "metric", "trials", "best", "setting")
        print_table(header, [[row[name] for name in header] for row in rows])
    else:
        print("No sweeps yet: `stemma sweep --help` shows how to begin one.")


def show(name: Name, as_json: Json = False) -> None:
    """Show a sweep's settings, the best first, and its trials."""
    from core.workspace import Workspace
    from flows.sweeps.study import Study

    workspace = Workspace.find()
    _print(workspace, Study.load(workspace.home, name), as_json)


def apply(name: Name) -> None:
    """Write the best setting into params.yaml, and show what changed."""
    from core.workspace import Workspace
    from flows.sweeps import winner
    from flows.sweeps.study import Study

    workspace = Workspace.find()
    study = Study.load(workspace.home, name)
    best, diff = winner.apply(workspace.root, study)
    print(f"{study.sweep.label(best.values)}: {study.sweep.metric} {best.shown}")
    print(diff or "params.yaml has these values already.")
    if study.sweep.fixed:
        fixed = ", ".join(f"{path}={value}" for path, value in study.sweep.fixed.items())
        print(f"Not written, since it was the same in all trials: {fixed}")
    elif diff:
        print("`stemma run` takes what the trial made from DVC's cache, and puts it before the gate.")


def _print(workspace: Workspace, study: Study, as_json: bool) -> None:
    from cli.output import print_json, print_table, say
    from core import layout
    from core.numbers import duration, measured
    from flows.sweeps import execute, space, winner
    from flows.sweeps.study import STDERR, error_of, seconds_of

    definition, best = study.sweep, winner.winner(study)
    at_work = execute.at_work(workspace, definition.name)
    settings = winner.settings(study)
    trials: list[dict[str, Any]] = [
        {
            "trial": trial.number,
            "run": study.run_name(trial),
            "values": study.values(trial),
            "state": execute.state_of(trial, at_work=at_work),
            "value": trial.value,
            "stderr": trial.user_attrs.get(STDERR),
            "seconds": seconds_of(trial),
            "error": error_of(trial),
        }
        for trial in study.trials
    ]
    if as_json:
        print_json(
            {
                "sweep": definition.name,
                "metric": str(definition.metric),
                "higher_is_better": definition.metric.higher_is_better,
                "varies": {each.path: each.text for each in definition.dimensions},
                "fixed": definition.fixed,
                "sampler": definition.sampler,
                "until": definition.until,
                "running": at_work,
                **execute.summary(study),
                "winner": best.as_dict() if best else None,
                "settings": [each.as_dict() for each in settings],
                "trials": trials,
            }
        )
        return
    short = definition.short
    rows = []
    for row in trials:
        value = "" if row["value"] is None else measured(row["value"], row["stderr"])
        took = duration(row["seconds"]) if row["seconds"] is not None else ""
        values = [space.shown(row["values"][path]) if path in row["values"] else "" for path in short]
        rows.append([row["trial"], *values, row["state"], value, took])
    print_table(("trial", *short.values(), "state", definition.metric.name, "time"), rows)
    repeated = any(space.is_seed(each.path) for each in definition.dimensions)
    if repeated:
        names = [name for path, name in short.items() if not space.is_seed(path)]
        paths = [path for path in short if not space.is_seed(path)]
        print()
        print_table(
            (*(names or ["setting"]), "seeds", f"{definition.metric.name} (mean ± standard error)"),
            [[*([space.shown(each.values[path]) for path in paths] or ["-"]), len(each.trials), each.shown]
             for each in settings],
        )  # fmt: skip
    print()
    if left := execute.summary(study)["left"]:
        say(f"{left} of {definition.trials} trials are left; the same command goes on.")
    if best is not None:
        say(f"Best: {definition.label(best.values) or 'the only setting'}: {definition.metric} {best.shown}")
        say(f"  stemma sweep apply {definition.name}   writes it into params.yaml")
    folder = layout.sweep(workspace.home, definition.name)
    if folder.is_dir() and any(folder.iterdir()):
        say(f"Figures: {folder}")
