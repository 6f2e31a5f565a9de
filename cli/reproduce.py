"""``stemma reproduce``: makes a version again and compares it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from flows.pipeline.reproduce import ReproducedVersion

EPILOG = """[bold]Examples[/]

stemma reproduce base:1                     restore it, run its whole lineage again, compare every digest

stemma reproduce base:1 --keep ../again     the same, and keep what the second run made

stemma reproduce base:1 --tree ../base-1    run in a tree from `stemma restore`, as you edited it
"""


def register(app: typer.Typer) -> None:
    app.command(epilog=EPILOG)(reproduce)


def reproduce(
    model: Annotated[
        str, typer.Argument(metavar="MODEL[:VERSION|@ALIAS]", help="The newest version if none is named.")
    ],
    tree: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Run in this restored tree, as it is; its outputs are replaced.")
    ] = None,
    keep: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Restore to this folder, and keep the results there.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Make a version again: run its lineage from the raw data and compare what comes out with the record.

    Verdicts: bit-identical (the same bytes); equivalent (other bytes by the same recipe, every metric within its
    tolerance: the max_drop of its promotion rule, or 1.96 standard errors of the difference); diverged, with the
    first stage that differs and what differs there: input, code, parameters, environment, or none of these. Exit
    code 1 if it diverged. The verdict is recorded. Nothing is taken from a cache, so it takes as long as the first
    time did.
    """
    from rich.console import Console

    from cli.output import print_json
    from cli.screens.live import Live
    from core.errors import InputProblem
    from core.workspace import Workspace
    from flows.pipeline.reproduce import reproduce as make_again

    if tree is not None and keep is not None:
        raise InputProblem("--tree, --keep: name one of them; a tree given by --tree is kept anyway")
    console = Console(stderr=True)
    result = make_again(
        Workspace.find(),
        model,
        tree=tree,
        keep=keep,
        say=lambda message: console.print(f"{message} …", highlight=False, markup=False),
        show=lambda run_state: Live(run_state, console),
    )
    if as_json:
        print_json(result.as_dict())
    else:
        _print(result)
    if result.comparison.verdict == "diverged":
        raise typer.Exit(1)


def _print(result: ReproducedVersion) -> None:
    from cli.output import print_table, say
    from core.numbers import duration, figure

    comparison, source = result.comparison, result.source
    rows = []
    for stage in comparison.stages:
        pairs = stage.outputs.values()
        digests = ", ".join(old[:12] if old == new else f"{old[:12]} → {new[:12] if new else 'none'}"
                            for old, new in pairs)  # fmt: skip
        failed = bool(pairs) and all(new is None for _, new in pairs)
        seen = "failed" if failed else "same" if stage.same else "differs"
        if not pairs:
            seen = "measured" if not any(d.kind is None for d in stage.differences) else "failed"
        rows.append((stage.stage, seen, duration(result.seconds.get(stage.stage, 0.0)), digests))
    print_table(("stage", "bytes", "took", "md5"), rows)
    for metric in comparison.metrics:
        if metric.recorded != metric.made:
            within = {True: "within", False: "outside", None: "has"}[metric.within]
            limit = f" (± {figure(metric.tolerance)}: {metric.basis})" if metric.tolerance is not None else ""
            within_text = f"{within} its tolerance{limit}" if metric.within is not None else "has no stated tolerance"
            say(f"{metric.name}: {figure(metric.recorded)} recorded, {figure(metric.made)} now, {within_text}")
    print()
    say(f"{source.version} of run {source.run} ({source.commit[:12]}): {comparison.verdict}")
    if comparison.stage:
        say(f"First stage that differs: {comparison.stage}")
        for cause in comparison.causes:
            say(f"  {cause}")
        if not comparison.causes:
            print(
                "  the same inputs, code, parameters and environment gave other bytes: the stage is not deterministic"
            )
    else:
        others = [(stage.stage, str(cause)) for stage in comparison.stages for cause in stage.differences]
        for stage_name, text in dict.fromkeys(others):
            say(f"  Note: {stage_name}: {text}; the bytes are the same")
    for stage in comparison.stages:
        if stage.reports_differ and stage.same:
            print(
                f"  Note: {stage.stage}: {', '.join(stage.reports_differ)} differs; reports are no part of the verdict"
            )
    for note in result.notes:
        say(f"  Note: {note}")
    if result.tree:
        say(f"The second run's files: {result.tree}")
