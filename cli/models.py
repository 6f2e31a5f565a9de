"""``stemma models``: every model version."""

from __future__ import annotations

from typing import Annotated

import typer

Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]


def register(app: typer.Typer) -> None:
    app.command(epilog="[bold]Example[/]: stemma models --json")(models)


def models(as_json: Json = False) -> None:
    """List every model version, its aliases and its key metric."""
    from cli.output import print_json, print_table
    from core.numbers import duration, figure
    from core.workspace import Workspace
    from registry.db.database import open as open_registry
    from registry.lineage.catalog import models as list_models

    with open_registry(Workspace.find().registry_url) as registry, registry.read() as session:
        summaries = list_models(session)
    if as_json:
        print_json([summary.as_dict() for summary in summaries])
        return
    if not summaries:
        print("No models yet; `stemma run` makes the first ones.")
        return
    rows = []
    for summary in summaries:
        metric = f"{summary.metric.name} {figure(summary.metric.value)}" if summary.metric else ""
        aliases = " ".join(f"@{alias}" for alias in summary.aliases)
        size = f"{summary.size / 1e6:,.1f} MB" if summary.size else ""
        rows.append(
            (f"{summary.model}:{summary.version}", aliases, metric, duration(summary.age), size, summary.digest[:12])
        )
    print_table(("version", "alias", "key metric", "age", "size", "digest"), rows)
