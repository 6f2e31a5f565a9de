"""``stemma trace``: where a model came from."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

EPILOG = """[bold]Examples[/]

stemma trace assistant@champion

stemma trace base:2 --figure base-2.svg
"""


def register(app: typer.Typer) -> None:
    app.command(epilog=EPILOG)(trace)


def trace(
    model: Annotated[
        str,
        typer.Argument(
            metavar="MODEL[:VERSION|@ALIAS]", help="The newest version if none is named; the start of a digest too."
        ),
    ],
    figure: Annotated[
        Path | None, typer.Option("--figure", metavar="FILE", help="Draw the family tree: FILE.svg or FILE.png.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Show which data, code, parameters and parents made a model, back to the raw bytes.

    What later runs reused is shown with the execution that really made it.
    """
    import sys

    from rich.console import Console

    from cli.output import print_json
    from cli.screens.family_tree import family_tree
    from core.workspace import Workspace
    from registry.db.database import open as open_registry
    from registry.integrity import history
    from registry.lineage.trace import trace as trace_model

    workspace = Workspace.find()
    with open_registry(workspace.registry_url) as registry, registry.read() as session:
        history.require_for(workspace, session, model)
        traced = trace_model(session, model)
    if figure is not None:
        from registry.lineage.family_tree import write_figure

        write_figure(traced, figure)
        print(f"Family tree written to {figure}", file=sys.stderr)
    if as_json:
        print_json(traced.as_dict())
    elif figure is None:
        Console().print(family_tree(traced))
