"""``stemma trace``: where a model came from."""

from __future__ import annotations

from typing import Annotated

import typer

Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]


def register(app: typer.Typer) -> None:
    app.command(epilog="[bold]Example[/]: stemma trace assistant@champion")(trace)


def trace(
    model: Annotated[
        str, typer.Argument(metavar="MODEL[@ALIAS|:VERSION]", help="The newest version if none is named.")
    ],
    as_json: Json = False,
) -> None:
    """Show which data, code, parameters and parents made a model, back to the raw bytes."""
    from rich.console import Console

    from flows.cli.output import print_json
    from flows.cli.tree import family_tree
    from registry.database import open as open_registry
    from registry.trace import trace as trace_model
    from registry.workspace import Workspace

    with open_registry(Workspace.find().registry_url) as registry, registry.read() as session:
        traced = trace_model(session, model)
    if as_json:
        print_json(traced.as_dict())
    else:
        Console().print(family_tree(traced))
