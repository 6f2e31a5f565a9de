"""``stemma status`` and ``stemma stage``: what runs, what is stale, and running one stage alone."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from core import layout


def register(app: typer.Typer) -> None:
    app.command(epilog="[bold]Example[/]: stemma status --json")(status)
    app.command(epilog="[bold]Example[/]: stemma stage evaluate@base")(stage)


def status(as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False) -> None:
    """Show the services that `stemma up` keeps running, and which stages are stale and why."""
    from cli.output import print_json, print_table
    from core.workspace import Workspace
    from flows.pipeline import graph, report

    workspace = Workspace.find()
    services = _services(workspace.home, as_json)
    lines = graph.staleness(*graph.read_with_status(workspace.root))
    for line in lines:
        if line.state == "up to date" and (reason := report.skipped(workspace.root, line.stage)):
            line.reasons.append(f"skipped: {reason}")
    if as_json:
        print_json({"stack": services, "stages": [line.as_dict() for line in lines]})
        return
    if moved := graph.moved_code(workspace.root):
        print(f"{moved}\n")
    print_table(("stage", "state", "why"), [(line.stage, line.state, "\n".join(line.reasons)) for line in lines])
    stale = sum(line.state != "up to date" for line in lines)
    print(
        "All stages are up to date."
        if not stale
        else f"{stale} of {len(lines)} stages are stale; `stemma run` brings them up to date."
    )


def _services(home: Path, as_json: bool) -> dict[str, Any] | None:
    """The stack of the home for programs, or shown; ``None`` where none runs, which takes no imports to see."""
    if not layout.stack_state(home).exists():
        return None
    from rich.console import Console

    from cli.screens import stack as stack_screen
    from deploy.stack import state

    stack = state.read(home)
    if stack is not None and not as_json:
        console = Console()
        console.width = console.width if console.is_terminal else 200
        console.print(stack_screen.table(stack), stack_screen.pages(console, stack, home), "", sep="\n")
    return stack_screen.as_dict(stack)


def stage(
    name: Annotated[
        str, typer.Argument(metavar="NAME", help="A stage of dvc.yaml, such as pretrain or evaluate@base.")
    ],
    force: Annotated[bool, typer.Option("--force", help="Run it although nothing changed.")] = False,
) -> None:
    """Bring one stage up to date, without the stages before it."""
    from rich.console import Console

    from cli.screens.live import Live
    from flows.pipeline.execute import execute_alone

    execute_alone(name, force=force, say=print, show=lambda board: Live(board, Console()))
