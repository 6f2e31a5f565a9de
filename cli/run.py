"""``stemma run``: bring everything up to date and promote."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from core.workspace import Workspace
    from flows.pipeline.report import Summary

EPILOG = """[bold]Examples[/]

stemma run                                  everything that changed

stemma run --set pretrain.steps=200         write the parameter into params.yaml, run what depends on it

stemma run --isolated --set seed=7          the same in a tree of its own; your files stay as they are

stemma run --recipe own-data                 params.yaml with the changes of recipes/own-data.yaml

stemma run --until tokenize                 that stage and all it needs

stemma run --skip classify_finetune         all but that stage, and what cannot run without it

stemma run --from pretrain                  that stage and what descends from it; stages before it are not checked
"""


def register(app: typer.Typer) -> None:
    app.command(epilog=EPILOG)(run)


def run(
    assignments: Annotated[
        list[str] | None, typer.Option("--set", metavar="PATH=VALUE", help="Override a parameter; may be repeated.")
    ] = None,
    until: Annotated[str | None, typer.Option(metavar="STAGE", help="Last stage wanted.")] = None,
    start: Annotated[
        str | None, typer.Option("--from", metavar="STAGE", help="First stage wanted; only what changed runs.")
    ] = None,
    skip: Annotated[
        list[str] | None, typer.Option(metavar="STAGE", help="Leave this stage out; may be repeated.")
    ] = None,
    recipe: Annotated[
        str | None, typer.Option(metavar="NAME", help="Lay recipes/NAME.yaml over params.yaml; see `stemma recipes`.")
    ] = None,
    isolated: Annotated[bool, typer.Option("--isolated", help="Run in a git worktree of its own.")] = False,
    name: Annotated[
        str | None, typer.Option(metavar="NAME", help="Name of the run; made from the time if not given.")
    ] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print the last screen as JSON, and progress to standard error.")
    ] = False,
) -> None:
    """Run every stage that is out of date, record the results, and promote the models that pass the gate."""
    from rich.console import Console

    from core.workspace import Workspace
    from flows.pipeline import unchanged

    console = Console(stderr=as_json)
    workspace = Workspace.find()
    if not (assignments or until or start or skip or recipe or isolated or name):
        known = unchanged.recall(workspace)  # before anything else is imported: it takes a second
        if known is not None:
            _print(known, workspace, as_json)
            return

    from cli.screens.live import Live
    from core import parameters_file
    from flows.pipeline import graph, recipes
    from flows.pipeline.prepare import Request
    from flows.run import run as run_lifecycle

    if moved := graph.moved_code(workspace.root):
        console.print(moved, highlight=False, markup=False)
    values, problems = parameters_file.parse(assignments or [])
    if recipe is not None:
        values = {**recipes.overrides(workspace.root, recipe), **values}
    downloads = recipes.downloads(workspace.root, recipe) if recipe else ()
    request = Request(values, until, start, isolated, name, tuple(problems), downloads, tuple(skip or ()))
    summary = run_lifecycle(
        workspace,
        request,
        lambda message: console.print(message, highlight=False, markup=False),
        lambda prepared: Live(prepared.run_state, console),
    )
    _print(summary, workspace, as_json)


def _print(summary: Summary, workspace: Workspace, as_json: bool) -> None:
    from rich.console import Console

    from cli.output import print_json
    from cli.screens.last import last_screen

    if not as_json:
        Console().print(last_screen(summary, workspace))
        return
    body = asdict(summary)
    names = ("stage", "state", "time", "metric", "baselines", "made_by")
    body["rows"] = [dict(zip(names, row, strict=True)) for row in summary.rows]
    body["decisions"] = [{"decision": kind, "text": text} for kind, text in summary.decisions]
    print_json(body)
