"""``stemma gc``: deletes what nothing needs any more."""

from __future__ import annotations

from typing import Annotated

import typer

EPILOG = """[bold]Examples[/]

stemma gc                          what would be deleted, with its size; nothing is deleted

stemma gc --delete                 delete it

stemma gc --keep-runs 3 --remote store --delete
"""


def register(app: typer.Typer) -> None:
    app.command(epilog=EPILOG)(gc)


def gc(
    delete: Annotated[bool, typer.Option("--delete/--dry-run", help="Delete it, or only list it.")] = False,
    keep_runs: Annotated[
        int, typer.Option(min=0, metavar="N", help="Keep the newest N runs, failed ones included.")
    ] = 10,
    remote: Annotated[
        str | None, typer.Option(metavar="NAME", help="Clean this DVC remote too; only if no other workspace uses it.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON, with every single thing.")] = False,
) -> None:
    """Delete files, runs and worktrees that nothing needs any more.

    Kept is what any of these needs: a registered version (so every version still restores, whatever its age), an alias,
    a deployment, a run or version under `stemma pin`, one of the newest N runs, a branch, a tag, the files of any
    worktree. All else goes: bytes of failed runs and of runs whose versions were never registered, older results of
    stages, scratch folders of finished work, what stages kept of data that no kept run has read, trees of killed runs,
    their MLflow runs (marked deleted there).
    """
    import sys

    from cli.output import print_json, print_table
    from core.workspace import Workspace
    from registry.store.collection import collect

    done = collect(
        Workspace.find(),
        keep_runs=keep_runs,
        remote=remote,
        delete=delete,
        say=lambda message: print(f"{message} …", file=sys.stderr),
    )
    if as_json:
        print_json(done.as_dict())
        return
    if done.categories:
        rows = [(row.name, f"{row.count:,}", _size(row.bytes), _such_as(row.items)) for row in done.categories]
        print_table(("deleted" if delete else "to delete", "things", "size", "such as"), rows)
        print()
    for note in done.notes:
        print(f"Note: {note}")
    if not done.categories:
        print("Nothing to delete: everything is in use.")
    elif delete:
        print(f"{_size(done.bytes)} freed; {len(done.kept_runs)} runs are kept, and every version still restores.")
    else:
        print(
            f"{_size(done.bytes)} would be freed; {len(done.kept_runs)} runs are kept. `stemma gc --delete` deletes it."
        )


def _size(size: int) -> str:
    for unit, factor in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if size >= factor:
            return f"{size / factor:,.1f} {unit}"
    return f"{size} B"


def _such_as(items: list[str]) -> str:
    return items[0] + (f" and {len(items) - 1:,} more" if len(items) > 1 else "")
