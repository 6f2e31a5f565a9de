"""``stemma history``: every decision about a model."""

from __future__ import annotations

from typing import Annotated

import typer


def register(app: typer.Typer) -> None:
    app.command(epilog="[bold]Example[/]: stemma history assistant --json")(history)


def history(
    model: Annotated[str, typer.Argument(metavar="MODEL", help="The model's name.")],
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON, with the gate's whole verdicts.")] = False,
) -> None:
    """Show every promotion, rollback and rejected candidate of a model: who, when, why, and the gate's verdict."""
    from cli.output import print_json, print_table, say
    from core.workspace import Workspace
    from registry.db.database import open as open_registry
    from registry.promotion.history import history as history_of
    from registry.promotion.history import verdict_of

    workspace = Workspace.find()
    with open_registry(workspace.registry_url) as registry, registry.read() as session:
        records = history_of(session, model)
    if as_json:
        print_json([{**record.as_dict(), "verdict": verdict_of(workspace, record)} for record in records])
        return
    if not records:
        say(f"{model} has no promotions yet; to promote it: stemma promote {model} --to champion --reason TEXT")
        return
    rows = []
    for record in records:
        moved = f"{record.previous} → {record.version}" if record.previous else str(record.version)
        if record.action == "reject":
            moved = f"{record.version} (not {record.previous} → {record.version})" if record.previous else moved
        rows.append(
            (
                record.time[:19].replace("T", " "),
                f"forced {record.action}" if record.forced else record.action,
                f"@{record.alias}",
                moved,
                _gate(verdict_of(workspace, record)),
                record.actor,
                record.reason,
            )
        )
    print_table(("time (UTC)", "action", "alias", "version", "gate", "actor", "reason"), rows)


def _gate(verdict: dict | None) -> str:
    if verdict is None:
        return "its file is missing"
    failed = [check["name"] for check in verdict["checks"] if not check["passed"]]
    if failed:
        return f"refused: {', '.join(failed)}"
    return f"passed {len(verdict['checks'])} checks"
