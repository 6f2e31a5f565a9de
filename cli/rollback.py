"""``stemma rollback``: the previous holder of an alias back."""

from __future__ import annotations

from typing import Annotated

import typer

EPILOG = """[bold]Examples[/]

stemma rollback assistant --reason "it repeats itself in long answers"

stemma rollback assistant --to-version 3 --reason "the last one that support was happy with"
"""


def register(app: typer.Typer) -> None:
    app.command(epilog=EPILOG)(rollback)


def rollback(
    model: Annotated[str, typer.Argument(metavar="MODEL", help="The model's name.")],
    reason: Annotated[str, typer.Option(metavar="TEXT", help="Reason, recorded permanently.")],
    to_version: Annotated[
        int | None, typer.Option(metavar="N", min=1, help="An earlier holder; the one before the present one if none.")
    ] = None,
    alias: Annotated[str, typer.Option(metavar="ALIAS", help="The alias to give back.")] = "champion",
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Give an alias back to the version that held it before.

    That version's files are hashed and its signature is verified first; if either fails, nothing is changed. The
    rollback is recorded like a promotion (see `stemma history`), and MLflow's alias follows. A second rollback with
    another reason goes back one further; the same one again changes nothing, so a command that was killed can be
    repeated.
    """
    from cli.output import print_json, say
    from core.workspace import Workspace
    from flows.pipeline.promotion import sentence
    from registry.promotion.promote import default_actor
    from registry.promotion.rollback import rollback as roll_back

    workspace = Workspace.find()
    outcome = roll_back(workspace, model, reason, default_actor(workspace), alias=alias, to_version=to_version)
    if as_json:
        print_json(outcome.as_dict())
        return
    print(sentence(outcome))
    if outcome.verdict is None:
        say("  It was given back by this request before; to go one further, say why again or name --to-version N.")
        return
    for check in outcome.verdict.checks[1:]:
        say(f"  {check.name}: {check.detail}")
    if outcome.mirror.error:
        say(f"MLflow update incomplete; it will be retried at the next sync: {outcome.mirror.error}")
