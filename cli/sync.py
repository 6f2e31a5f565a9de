"""``stemma sync``: recording what a bare `dvc repro` made."""

from __future__ import annotations

from typing import Annotated

import typer

Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]


def register(app: typer.Typer) -> None:
    app.command(epilog="[bold]Example[/]: dvc repro && stemma sync")(sync)


def sync(as_json: Json = False) -> None:
    """Record in the registry what `dvc repro` made, and send MLflow the updates that it missed."""
    from cli.output import print_json, say
    from core.workspace import Workspace
    from flows.pipeline import spools
    from registry.lineage.sync import sync as sync_registry

    workspace = Workspace.find()
    waiting = spools.send_pending(workspace)
    report = sync_registry(workspace)
    report.problems += [waiting] if waiting else []
    if as_json:
        print_json(report.as_dict())
        return
    say(f"Recorded: {', '.join(report.executed) or 'nothing new'}")
    if report.failed:
        say(f"Failed: {', '.join(report.failed)}")
    for version in report.versions:
        say(f"New version: {version}")
    for problem in report.problems:
        say(f"Note: {problem}")
    if report.mirror.error:
        say(f"MLflow update incomplete; it will be retried at the next sync: {report.mirror.error}")
