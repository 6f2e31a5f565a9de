"""``stemma promote``: moving an alias through the gate."""

from __future__ import annotations

from typing import Annotated

import typer


def register(app: typer.Typer) -> None:
    app.command(epilog='[bold]Example[/]: stemma promote assistant:2 --to champion --reason "shorter answers"')(promote)


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
