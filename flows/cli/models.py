"""``stemma models``, ``trace``, ``promote`` and ``sync``: the registry's side of the command."""

from __future__ import annotations

from typing import Annotated

import typer

Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]


def register(app: typer.Typer) -> None:
    app.command(epilog="[bold]Example[/]: stemma models --json")(models)
    app.command(epilog="[bold]Example[/]: stemma trace assistant@champion")(trace)
    app.command(epilog='[bold]Example[/]: stemma promote assistant:2 --to champion --reason "shorter answers"')(promote)
    app.command(epilog="[bold]Example[/]: dvc repro && stemma sync")(sync)


def models(as_json: Json = False) -> None:
    """List every model version, its aliases and its key metric."""
    from flows.cli.output import print_json, print_table
    from flows.figures import figure
    from flows.report import duration
    from registry.database import open as open_registry
    from registry.lineage import models as list_models
    from registry.workspace import Workspace

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
    from registry.lineage import trace as trace_model
    from registry.workspace import Workspace

    with open_registry(Workspace.find().registry_url) as registry, registry.read() as session:
        traced = trace_model(session, model)
    if as_json:
        print_json(traced.as_dict())
    else:
        Console().print(family_tree(traced))


def promote(
    version: Annotated[str, typer.Argument(metavar="MODEL:VERSION", help="What to promote.")],
    alias: Annotated[str, typer.Option("--to", metavar="ALIAS", help="The alias to move.")],
    reason: Annotated[str, typer.Option(metavar="TEXT", help="Why; kept for ever.")],
    force: Annotated[bool, typer.Option("--force", help="Against the gate; that is kept for ever too.")] = False,
) -> None:
    """Move an alias to a version, if the gate lets it through."""
    from flows.promotion import sentence
    from registry.promotion import default_actor
    from registry.promotion import promote as promote_version
    from registry.workspace import Workspace

    workspace = Workspace.find()
    outcome = promote_version(workspace, version, alias, reason, default_actor(workspace), force=force)
    for check in outcome.verdict.checks if outcome.verdict else []:
        print(f"{'pass' if check.passed else 'FAIL'}  {check.name}: {check.detail}")
    print(sentence(outcome))
    if not outcome.accepted:
        raise typer.Exit(1)


def sync(as_json: Json = False) -> None:
    """Record in the registry what `dvc repro` made, and tell MLflow what it was not told yet."""
    from flows import spools
    from flows.cli.output import print_json
    from registry.sync import sync as sync_registry
    from registry.workspace import Workspace

    workspace = Workspace.find()
    waiting = spools.tell_pending(workspace)
    report = sync_registry(workspace)
    report.problems += [waiting] if waiting else []
    if as_json:
        print_json(report.as_dict())
        return
    print(f"Recorded: {', '.join(report.executed) or 'nothing new'}")
    for version in report.versions:
        print(f"New version: {version}")
    for problem in report.problems:
        print(f"Note: {problem}")
    if report.mirror.error:
        print(f"MLflow was not told everything; the next sync tries again: {report.mirror.error}")
