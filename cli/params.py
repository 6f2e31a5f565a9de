"""``stemma params``: every parameter explained."""

from __future__ import annotations

from typing import Annotated

import typer


def register(app: typer.Typer) -> None:
    app.command(epilog="[bold]Examples[/]: stemma params pretrain   ·   stemma params --json")(params)


def params(
    prefix: Annotated[
        str | None, typer.Argument(metavar="[PATH]", help="Only what starts with this, such as pretrain.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Explain every parameter of params.yaml: type, bounds, default, meaning."""
    from cli.output import print_json, print_table
    from core.errors import InputProblem
    from flows.pipeline.parameters import explain

    inside = (f"{prefix}.", f"{prefix}[].", f"{prefix}.<name>.")
    lines = [line for line in explain() if not prefix or line.path == prefix or line.path.startswith(inside)]
    if not lines:
        raise InputProblem(f"stemma params {prefix}: no such parameter; `stemma params` lists them all")
    if as_json:
        print_json([line.as_dict() for line in lines])
        return
    rows = [(line.path, f"{line.type} {line.bounds}".strip(), line.default, line.help) for line in lines]
    print_table(("parameter", "type", "default", "meaning"), rows)
