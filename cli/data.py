"""``stemma data``: taking raw data in, seeing which of it is new, and looking at what was made of it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from cli import corpus, train_classifier, train_perplexity

ADD_EPILOG = """[bold]Examples[/]

stemma data add corpus.jsonl                    to data/raw/corpus.jsonl

stemma data add --into 2026-05 texts/*.txt      to data/raw/2026-05

stemma data add data/raw                        version what you have put there yourself
"""
LIST_EPILOG = """[bold]Examples[/]

stemma data list

stemma data list --json
"""
PREVIEW_EPILOG = """[bold]Examples[/]

stemma data preview

stemma data preview --stage preference_tune -n 3
"""
FineTuningStage = Literal["instruct_finetune", "reward_model", "preference_tune"]


def register(app: typer.Typer) -> None:
    group = typer.Typer(
        help="Add raw data, list which of it is new, see it as a model does, and look at corpora.", no_args_is_help=True
    )
    group.command(epilog=ADD_EPILOG)(add)
    group.command("list", epilog=LIST_EPILOG)(list_files)
    group.command(epilog=PREVIEW_EPILOG)(preview)
    corpus.register(group)
    train_classifier.register(group)
    train_perplexity.register(group)
    app.add_typer(group, name="data")


def add(
    files: Annotated[list[Path], typer.Argument(metavar="FILE...", help="Files and folders; a folder keeps its name.")],
    into: Annotated[str, typer.Option(metavar="FOLDER", help="Folder below data/raw.")] = "",
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Copy files into `data/raw`, version them with DVC, and send Prefect the event that may start a retraining.

    A file of the same name is replaced; its earlier content stays in DVC's cache, and in the lineage of what was made
    of it. The event `stemma.data.changed` goes to the server of `PREFECT_API_URL`, or else of `stemma up`.
    """
    from cli.output import print_json
    from core.parameters_file import read
    from core.workspace import Workspace
    from flows.retraining import sources, triggers
    from flows.retraining.new_data import unread

    workspace = Workspace.find()
    taken = sources.add(workspace, files, into)
    lines = [*taken.lines, *unread(read(workspace.root / "params.yaml"), taken.names)]
    sent = None
    if taken.names:
        sent, said = triggers.announce(workspace.home, taken.names)
        lines.append(said)
    if as_json:
        print_json({"files": taken.names, "event": sent, "notes": lines})
    else:
        print("\n".join(lines))


def list_files(as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False) -> None:
    """List the raw data, here and in the polled folders, and which of it the champion was not trained on."""
    from cli.output import print_json, print_table
    from core.numbers import figure
    from core.workspace import Workspace
    from flows.pipeline.raw_data import RAW
    from flows.retraining import new_data
    from flows.retraining.rules import load

    workspace = Workspace.find()
    found = new_data.find(workspace, *load(workspace.root))
    if as_json:
        print_json({**found.as_dict(), "all": [vars(line) for line in found.listing]})
        return
    rows = [(f"{RAW}/{line.name}", figure(line.bytes), line.state, line.path) for line in found.listing]
    if rows:
        print_table(("FILE", "BYTES", "STATE", "FROM"), rows)
    print("\n".join([*found.notes, str(found)]))


def preview(
    stage: Annotated[FineTuningStage, typer.Option(help="The stage that is trained on it.")] = "instruct_finetune",
    count: Annotated[int, typer.Option("-n", min=1, max=1000, help="Rows to show.")] = 10,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Show rows of `data/instructions` as the chat template renders them, with the trained tokens marked.

    On a terminal they are green, else between `[[` and `]]`.
    """
    from cli.output import print_json, print_parts
    from components import load
    from components.finetuning.preview import FILES, examples
    from components.harness.parameters import validate
    from core.parameters_file import read
    from core.workspace import Workspace

    root = Workspace.find().root
    values: Any = validate(read(root / "params.yaml"), "instruct_finetune", load("instruct_finetune").parameters)
    where, found = examples(root, stage, template=values.template, train_on=values.train_on, count=count)
    if as_json:
        print_json([example._asdict() for example in found])
        return
    print(f"data/instructions/{FILES[stage]}.jsonl by {where}; what is trained is marked")
    for example in found:
        print(f"\nrow {example.row}" + (f", {example.what}" if example.what else ""))
        if example.fault:
            print(f"left out: {example.fault}")
        else:
            print_parts(example.parts)
