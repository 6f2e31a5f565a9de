"""The command's entrance: options that hold for every verb, and the verbs."""

from __future__ import annotations

import contextlib
import io
import os
import sys
from pathlib import Path
from typing import Annotated

import typer

from cli import (
    arena,
    audit,
    backup,
    chat,
    compare,
    cost,
    data,
    diff,
    down,
    export,
    feedback,
    generate,
    history,
    impact,
    import_model,
    keys,
    lineage,
    models,
    params,
    pin,
    plan,
    promote,
    recipes,
    reproduce,
    restore,
    retrain,
    rollback,
    run,
    scale,
    serve,
    setup,
    stages,
    sweep,
    sync,
    trace,
    up,
    verify,
)
from cli import gc as collect
from cli.errors import errors_as_messages
from core import layout, python
from core.environment import quiet_mlflow
from core.errors import WorkspaceError
from core.workspace import Workspace

HELP = """From raw text to a promoted language model, with the lineage of every model it ever made.

Works from any folder of a workspace (a clone of the project). Exit codes: 0 done, 1 failed, 2 something in your
parameters, data or command line has to be changed first.
"""

app = typer.Typer(
    help=HELP, no_args_is_help=True, add_completion=True, rich_markup_mode="rich", pretty_exceptions_enable=False
)


@app.callback(epilog="[bold]Examples[/]: stemma run   ·   stemma status   ·   stemma run --help")
def options(
    context: typer.Context,
    workspace: Annotated[
        Path | None, typer.Option("-C", "--workspace", help="Work as if started in this folder.", metavar="DIR")
    ] = None,
) -> None:
    if workspace is not None:
        try:
            os.chdir(workspace)
        except OSError as error:
            raise typer.BadParameter(f"{workspace}: {error.strerror}", param_hint="--workspace") from None
    if context.invoked_subcommand != "up":
        with contextlib.suppress(WorkspaceError):
            home = Workspace.find().home
            if layout.stack_state(home).exists() or layout.storage(home).exists():
                from deploy.stack.storage import use_stack

                use_stack(home)


for module in (
    run,
    sweep,
    scale,
    up,
    down,
    retrain,
    data,
    plan,
    stages,
    models,
    trace,
    impact,
    diff,
    compare,
    cost,
    lineage,
    promote,
    rollback,
    history,
    audit,
    verify,
    export,
    backup,
    restore,
    reproduce,
    import_model,
    collect,
    pin,
    sync,
    serve,
    chat,
    arena,
    feedback,
    generate,
    keys,
    recipes,
    params,
    setup,
):
    module.register(app)


def main() -> None:
    """``stemma``: runs a verb and ends the process with its exit code."""
    python.seldom_collect()
    quiet_mlflow()
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")  # signs that the terminal's encoding does not have
    with errors_as_messages():
        app()
    sys.exit(0)
