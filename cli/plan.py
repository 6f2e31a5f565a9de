"""``stemma plan``: what a training needs and costs, before it starts."""

from __future__ import annotations

from typing import Annotated

import typer

EPILOG = """[bold]Examples[/]

stemma plan                                                              the training stages of params.yaml

stemma plan --device a100-80 --price 1.8                                 the same on another device

stemma plan --recipe qlora-70b --device h100                             the stages of a recipe

stemma plan --preset llama2-7b --tokens 140B --device h100 --count 64 --price 2.5

stemma plan --preset llama3-70b --tokens 1.4T --device h100 --count 1024 --sharding zero3 --json

stemma plan --parameters 671B --active 37B --tokens 14.8T --device h800 --count 2048 --mfu 0.35
"""


def register(app: typer.Typer) -> None:
    app.command(epilog=EPILOG)(plan)


def plan(
    preset: Annotated[
        str | None, typer.Option(metavar="NAME", help="A decoder by name; without it, the stages of params.yaml.")
    ] = None,
    recipe: Annotated[
        str | None, typer.Option(metavar="NAME", help="Lay recipes/NAME.yaml over params.yaml; see `stemma recipes`.")
    ] = None,
    parameters: Annotated[
        str | None, typer.Option(metavar="N", help="A model of so many parameters, such as 405B; its shape is assumed.")
    ] = None,
    active: Annotated[
        str | None, typer.Option(metavar="N", help="Of --parameters, how many a token passes through; else all.")
    ] = None,
    tokens: Annotated[
        str | None, typer.Option(metavar="N", help="Training tokens, such as 140B or 1.5T; else 20 a parameter.")
    ] = None,
    device: Annotated[
        str | None, typer.Option(metavar="NAME", help="h100, a100-80, 4090, cpu ...; else the one here.")
    ] = None,
    count: Annotated[str | None, typer.Option(metavar="N", help="Devices; else 1, or the stage's processes.")] = None,
    price: Annotated[str | None, typer.Option(metavar="X", help="Money for a device and hour.")] = None,
    sharding: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="ddp, zero1, zero2, zero3 (fsdp2), tp or 3d; else what fits first."),
    ] = None,
    micro_batch: Annotated[
        str | None, typer.Option(metavar="N", help="Sequences that a device takes at a time; else 1.")
    ] = None,
    context: Annotated[
        str | None, typer.Option(metavar="N", help="Tokens of a sequence; else the preset's, at most 8192.")
    ] = None,
    precision: Annotated[str | None, typer.Option(metavar="NAME", help="Of products: fp32, bf16 or fp8.")] = None,
    optimizer: Annotated[str | None, typer.Option(metavar="NAME", help="adamw or muon; else adamw.")] = None,
    mfu: Annotated[
        str | None, typer.Option(metavar="X", help="Share of the published peak that is reached; else 0.4.")
    ] = None,
    goodput: Annotated[
        str | None, typer.Option(metavar="X", help="Share of the time without faults and restarts; else 1.")
    ] = None,
    pue: Annotated[
        str | None, typer.Option(metavar="X", help="Power of the site over that of the devices; else 1.1.")
    ] = None,
    utilisation: Annotated[
        str | None, typer.Option(metavar="X", help="Share of the design power that is drawn; else 1.")
    ] = None,
    watts: Annotated[str | None, typer.Option(metavar="X", help="Design power of a device; else as published.")] = None,
    gradient_checkpointing: Annotated[
        bool, typer.Option("--gradient-checkpointing", help="Blocks keep their inputs alone and are computed again.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON; keys name their units.")] = False,
) -> None:
    """Estimate what a training needs and costs: parameters, FLOPs, tokens, memory, hours, money, energy, disk."""
    from pathlib import Path

    from rich.console import Console

    from cli.output import print_json
    from cli.screens.plan import screen
    from core.workspace import Workspace
    from flows.pipeline import planning

    given = {
        "preset": preset, "parameters": parameters, "active": active, "tokens": tokens, "device": device,
        "count": count, "price": price, "sharding": sharding, "micro-batch": micro_batch, "context": context,
        "precision": precision, "optimizer": optimizer, "mfu": mfu,
        "goodput": goodput, "pue": pue, "utilisation": utilisation, "watts": watts,
    }  # fmt: skip
    arguments = [f"--{name}={text}" for name, text in given.items() if text is not None]
    arguments += ["--gradient-checkpointing"] if gradient_checkpointing else []
    if preset or parameters:
        answer = planning.ask(arguments, Path.cwd())
    elif recipe:
        answer = planning.ask_of_recipe(Workspace.find().root, recipe, arguments)
    else:
        answer = planning.ask(arguments, Workspace.find().root)
    if as_json:
        print_json(answer)
        return
    console = Console()
    if not console.is_terminal:
        console.width = 160
    for each in answer["plans"]:
        console.print(screen(each), highlight=False)
    console.print()
    for each in answer["skipped"]:
        console.print(f"{each['stage']}: no plan: {each['why']}", highlight=False, markup=False)
