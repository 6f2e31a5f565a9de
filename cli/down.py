"""``stemma down``: ends what ``stemma up`` started."""

from __future__ import annotations

from typing import Annotated

import typer


def register(app: typer.Typer) -> None:
    app.command(epilog="[bold]Examples[/]: stemma down   ·   stemma down --now")(down)


def down(
    now: Annotated[bool, typer.Option("--now", help="Do not wait for runs to save their checkpoints.")] = False,
) -> None:
    """End the stack of this workspace, and wait until nothing of it is left.

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
    told = now
    while state.lives(stack):
        if told and time.monotonic() - began > 0.5:
            os.kill(stack.pid, signal.SIGTERM)  # asked a second time, it does not wait
            told = False
        time.sleep(0.1)
    print(f"Everything has ended ({time.monotonic() - began:.1f} s).")
