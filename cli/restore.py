"""``stemma restore``: a version's tree as it was, bytes included."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

EPILOG = """[bold]Examples[/]

stemma restore assistant:1 ../assistant-1        code, parameters, data and models of the run that made it

stemma restore base@champion ../champion --json
"""


def register(app: typer.Typer) -> None:
    app.command(epilog=EPILOG)(restore)


def restore(
    model: Annotated[
        str, typer.Argument(metavar="MODEL[:VERSION|@ALIAS]", help="The newest version if none is named.")
    ],
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="Empty or not there yet, outside the workspace.")],
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Bring back the workspace that made a version: a git worktree of the run's snapshot with all data and models.

    The bytes come from DVC's cache, or else from its remotes, and every file's hash is verified. Interrupted, it
    leaves nothing that could be taken for whole; repeat it. Take it away with `git worktree remove --force DIR`.
    """
    import sys

    from cli.output import print_json, say
    from core.numbers import figure
    from core.processes import signals_as_exceptions
    from core.workspace import Workspace
    from registry.store.restore import restore as restore_version

    with signals_as_exceptions():
        restored = restore_version(
            Workspace.find(), model, folder, lambda message: print(f"{message} …", file=sys.stderr)
        )
    if as_json:
        print_json(restored.as_dict())
        return
    source = restored.source
    say(f"{source.version} is restored in {restored.root}, as run {source.run} left it ({source.commit[:12]}).")
    say(f"  {source.path}  md5 {source.digest}")
    say(f"  {restored.files} data and model files, {figure(restored.bytes / 1e6)} MB, every hash verified")
    for remote in restored.fetched:
        say(f"  fetched from remote {remote}")
    for note in restored.notes:
        say(f"  Note: {note}")
    say(f"Edit it and see what changes: stemma reproduce {source.version} --tree {restored.folder}")
