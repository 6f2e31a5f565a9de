"""``stemma pin`` and ``unpin``: what a collection must leave alone."""

from __future__ import annotations

from typing import Annotated, Any

import typer


def register(app: typer.Typer) -> None:
    app.command(epilog='[bold]Example[/]: stemma pin run-20250101-120000-ab12 --reason "published results"')(pin)
    app.command(epilog="[bold]Example[/]: stemma unpin run-20250101-120000-ab12")(unpin)


def pin(
    subject: Annotated[
        str | None, typer.Argument(metavar="RUN|MODEL:VERSION", help="What to keep; without it, all pins are listed.")
    ] = None,
    reason: Annotated[str, typer.Option(metavar="TEXT", help="Reason, recorded with the pin.")] = "",
    as_json: Annotated[bool, typer.Option("--json", help="Print what is pinned as JSON.")] = False,
) -> None:
    """Keep a run or a version from `stemma gc`; without an argument, list what is pinned.

    Registered versions are kept anyway. A pinned run keeps everything it made, registered or not.
    """
    from datetime import datetime

    from cli.output import print_json, print_table, say
    from core.workspace import Workspace
    from registry.db.database import open as open_registry
    from registry.promotion.promote import default_actor
    from registry.store import pins

    workspace = Workspace.find()
    with open_registry(workspace.registry_url) as registry:
        if subject is not None:
            say(f"Pinned: {pins.pin(registry, subject, reason, default_actor(workspace))}")
            return
        with registry.read() as session:
            rows: list[dict[str, Any]] = [
                {"pinned": pins.name_of(row), "reason": row.reason, "actor": row.actor, "created": row.created}
                for row in pins.active(session)
            ]
    if as_json:
        print_json(rows)
    elif not rows:
        say("Nothing is pinned.")
    else:
        table = [
            (row["pinned"], datetime.fromtimestamp(row["created"]).strftime("%Y-%m-%d"), row["actor"], row["reason"])
            for row in rows
        ]
        print_table(("pinned", "since", "by", "reason"), table)


def unpin(
    subject: Annotated[str, typer.Argument(metavar="RUN|MODEL:VERSION", help="The pinned run or version.")],
) -> None:
    """Remove a pin."""
    from cli.output import say
    from core.workspace import Workspace
    from registry.db.database import open as open_registry
    from registry.store import pins

    with open_registry(Workspace.find().registry_url) as registry:
        say(f"No longer pinned: {pins.unpin(registry, subject)}")
