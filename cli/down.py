"""``stemma down``: stops what ``stemma up`` started."""

from __future__ import annotations

from typing import Annotated

import typer


def register(app: typer.Typer) -> None:
    app.command(epilog="[bold]Examples[/]: stemma down   ·   stemma down --now")(down)


def down(
    now: Annotated[bool, typer.Option("--now", help="Do not wait for runs to save their checkpoints.")] = False,
) -> None:
    """Stop the stack of this workspace, and wait until all its processes have ended.

    Runs under way save a checkpoint first; started again, they go on from there.
    """
    import os
    import signal
    import time

    from core.workspace import Workspace
    from deploy.stack import state

    home = Workspace.find().home
    stack = state.read(home)
    if stack is None:
        print("No stack runs here.")
        return
    os.kill(stack.pid, signal.SIGTERM)
    began = time.monotonic()
    signal_again = now
    while state.lives(stack):
        if signal_again and time.monotonic() - began > 0.5:
            os.kill(stack.pid, signal.SIGTERM)  # a second signal ends it without waiting
            signal_again = False
        time.sleep(0.1)
    print(f"The stack has stopped ({time.monotonic() - began:.1f} s).")
