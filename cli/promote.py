"""``stemma promote``: moving an alias through the gate."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from registry.promotion.gate import Verdict

EPILOG = """[bold]Examples[/]

stemma promote assistant:2 --to champion --reason "shorter answers"

stemma promote base:3 --to champion --reason "the demo needs it today" --force    against the gate, and recorded so
"""


def register(app: typer.Typer) -> None:
    app.command(epilog=EPILOG)(promote)


def promote(
    version: Annotated[
        str, typer.Argument(metavar="MODEL[:VERSION|@ALIAS]", help="What to promote; the newest version if none.")
    ],
    alias: Annotated[str, typer.Option("--to", metavar="ALIAS", help="The alias to move.")],
    reason: Annotated[str, typer.Option(metavar="TEXT", help="Reason, recorded permanently.")],
    force: Annotated[
        bool, typer.Option("--force", help="Promote although the gate refuses; recorded permanently.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Move an alias to a version, if the gate lets it through.

    The gate compares the version's metrics with the thresholds in `params.yaml` (section `promotion`) and against the
    alias's holder on the same evaluation set, item by item where both evaluations kept theirs; where the set has
    changed, the holder is measured on the new one first.
    Where `promotion.max_contamination` is set, it asks what the version has learnt of its evaluation sets.
    It requires a lineage that reaches raw data, valid signatures, safe weights, and a model that loads and answers.
    The verdict, the reason and the person are recorded permanently, and the version's files are signed.
    Exit code 1: refused.
    """
    import sys

    from cli.output import print_json, say
    from core.processes import signals_as_exceptions
    from core.workspace import Workspace
    from flows.pipeline.measure import measuring
    from flows.pipeline.overlap import comparing
    from flows.pipeline.pairing import pairing
    from flows.pipeline.promotion import sentence
    from registry.promotion.promote import default_actor
    from registry.promotion.promote import promote as promote_version

    workspace = Workspace.find()
    measure = measuring(workspace, lambda message: print(f"{message} …", file=sys.stderr))
    with signals_as_exceptions():
        outcome = promote_version(
            workspace,
            version,
            alias,
            reason,
            default_actor(workspace),
            force=force,
            measure=measure,
            compare=comparing(workspace),
            pair=pairing(workspace),
        )
    if as_json:
        print_json(outcome.as_dict())
    else:
        if outcome.verdict is not None:
            _print_verdict(outcome.verdict)
        print(sentence(outcome))
        if outcome.mirror.error:
            say(f"MLflow update incomplete; it will be retried at the next sync: {outcome.mirror.error}")
    if not outcome.accepted:
        raise typer.Exit(1)


def _print_verdict(verdict: Verdict) -> None:
    """One line a check: whether it passed, the check, and what it found."""
    from cli.output import print_table

    rows = [("pass" if check.passed else "FAIL", check.name, check.detail) for check in verdict.checks]
    print_table(("", "check", "what the gate saw"), rows)
