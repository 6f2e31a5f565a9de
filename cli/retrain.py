"""``stemma retrain``: the flow of the deployment, run here."""

from __future__ import annotations

from typing import Annotated

import typer

EPILOG = """[bold]Examples[/]

stemma data list          what there is, and what the champion was not made of

stemma retrain            a candidate of the new data, if there is enough of it, through the gate

stemma retrain --json     the same for a program
"""


def register(app: typer.Typer) -> None:
    app.command(epilog=EPILOG)(retrain)


def retrain(as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False) -> None:
    """Look for raw data that the champion was not trained on, and train a candidate on it.

    What is looked at, how much is enough and where training starts is the section `retrain` of `params.yaml`. New files
    of polled places are copied into `data/raw`; all else happens in a tree of its own. Candidate and champion are held
    against each other on the same held-out documents; the gate promotes, or records why not. Nothing new ends at once.
    """
    import logging
    import sys
    from dataclasses import asdict

    from rich.console import Console

    from cli.output import print_json
    from cli.screens.live import Live
    from core.processes import signals_as_exceptions
    from core.workspace import Workspace
    from flows.prefect_server import prefect_server
    from flows.retraining import new_data
    from flows.retraining.rules import load

    workspace, console = Workspace.find(), Console(stderr=as_json)

    def say(line: str) -> None:
        console.print(line, highlight=False, markup=False)

    found = new_data.find(workspace, *load(workspace.root))
    if not found.enough:
        if as_json:
            print_json({"outcome": "Nothing new", "message": str(found), "new_data": found.as_dict()})
            return
        for line in [*found.notes, str(found)]:
            say(line)
        return
    with signals_as_exceptions(), prefect_server(workspace, say):
        from flows.retrain import retraining

        logging.getLogger("prefect").setLevel(logging.CRITICAL)
        done = retraining(lambda prepared: Live(prepared.run_state, console))(workspace=str(workspace.root))
    if as_json:
        print_json(asdict(done))
        return
    for line in [*done.notes, f"{done.outcome}: {done.message}"]:
        print(line, file=sys.stdout)
