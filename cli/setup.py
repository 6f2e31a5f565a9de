"""``stemma init`` and ``stemma doctor``: making a workspace ready, and checking one."""

from __future__ import annotations

from typing import Annotated

import typer


def register(app: typer.Typer) -> None:
    app.command(epilog="[bold]Example[/]: git clone … && cd … && stemma init")(init)
    app.command(epilog="[bold]Example[/]: stemma doctor --json")(doctor)


def init(quiet: Annotated[bool, typer.Option("--quiet", help="Print problems only.")] = False) -> None:
    """Make a clone ready: the folders it needs, the model that pretrain.init names, a check of everything around it."""
    from cli.diagnosis import FAIL, examine
    from core.workspace import Workspace
    from flows.pipeline import parameters, parent_model, raw_data

    workspace = Workspace.find()
    workspace.home.mkdir(parents=True, exist_ok=True)
    prepared = (
        raw_data.ensure(workspace.root, {}) or f"{raw_data.RAW}: ready; put your own files there, or leave it empty"
    )

    def say(text: str) -> None:
        if not quiet:
            print(text)

    say(prepared)
    hashed_anew = {f"{parent_model.PARENT}.dvc": None}
    parent_model.bring(workspace, hashed_anew, parameters.load(workspace.root), say)
    problems = [finding for finding in examine(quick=True) if finding.state == FAIL]
    for finding in problems:
        print(f"{finding.name}: {finding.text}")
    if problems:
        raise typer.Exit(1)
    say("Ready. Next: stemma run")


def doctor(as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False) -> None:
    """Check versions, devices, servers, disk and parameters, with what to do about each problem."""
    from cli.diagnosis import FAIL, examine
    from cli.output import print_json, print_table

    findings = examine()
    if as_json:
        print_json([finding.as_dict() for finding in findings])
    else:
        print_table(("", "what", ""), [(finding.state, finding.name, finding.text) for finding in findings])
    if any(finding.state == FAIL for finding in findings):
        raise typer.Exit(1)
