"""``stemma lineage export``: the registry's history for other tools."""

from __future__ import annotations

from typing import Annotated

import typer

EPILOG = """[bold]Examples[/]

stemma lineage export --openlineage events.jsonl

stemma lineage export --openlineage http://localhost:5000    such as a Marquez server
"""

commands = typer.Typer(help="Hand the lineage of all runs to other tools.", no_args_is_help=True)


def register(app: typer.Typer) -> None:
    commands.command(epilog=EPILOG)(export)
    app.add_typer(commands, name="lineage")


@commands.callback()
def lineage() -> None:
    """Hand the lineage of all runs to other tools."""


def export(
    target: Annotated[
        str, typer.Option("--openlineage", metavar="FILE|URL", help="A file of JSON lines, or a server's base URL.")
    ],
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Export every execution as OpenLineage run events.

    Runs are executions, jobs are stages, datasets are artifacts whose version is their digest; each pipeline run is
    the parent run of its executions. Run ids stay the same, so exporting again adds nothing. `OPENLINEAGE_API_KEY` is
    sent to a server as its key.
    """
    from pathlib import Path

    from cli.output import print_json
    from core.workspace import Workspace
    from registry.db.database import open as open_registry
    from registry.lineage import openlineage

    with open_registry(Workspace.find().registry_url) as registry, registry.read() as session:
        if target.startswith(("http://", "https://")):
            count = openlineage.send(session, target)
        else:
            count = openlineage.write(session, Path(target))
    if as_json:
        print_json({"events": count, "target": target})
    else:
        print(f"{count} events {'sent to' if '://' in target else 'written to'} {target}")
