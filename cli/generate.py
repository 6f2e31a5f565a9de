"""``stemma generate``: one answer of a registered model."""

from __future__ import annotations

from typing import Annotated

import typer

EPILOG = """[bold]Examples[/]

stemma generate assistant@champion "How many parameters does this function take? def f ( a , b = 1 )"

stemma generate base:1 "Return the" --temperature 0.8 --top-p 0.95 --top-k 40 --max-tokens 80 --seed 7
"""


def register(app: typer.Typer) -> None:
    app.command(epilog=EPILOG)(generate)


def generate(
    model: Annotated[str, typer.Argument(metavar="MODEL[@ALIAS|:VERSION]")],
    prompt: Annotated[str, typer.Argument(metavar="PROMPT", help="The prompt; `-` reads it from standard input.")],
    temperature: Annotated[float, typer.Option(min=0.0, max=5.0, help="0 always takes the likeliest token.")] = 0.0,
    top_p: Annotated[
        float, typer.Option(min=0.01, max=1.0, help="Sample from the likeliest tokens of this mass.")
    ] = 1.0,
    top_k: Annotated[int, typer.Option(min=0, help="Sample from so many likeliest tokens; 0: all.")] = 0,
    max_tokens: Annotated[int, typer.Option(min=1, max=100_000, help="Tokens to generate at most.")] = 64,
    seed: Annotated[int, typer.Option(min=0, help="Seed of the sampling.")] = 1337,
    system: Annotated[str | None, typer.Option(help="A system message before the prompt.")] = None,
) -> None:
    """Answer a prompt with a registered model, after its signature and bytes were checked."""
    import sys

    from core.workspace import Workspace
    from deploy.gateway.local_generation import generate as answer
    from registry.store.run_locks import running

    text = sys.stdin.read() if prompt == "-" else prompt
    workspace = Workspace.find()
    with running(workspace.home):  # no collection takes the model's files meanwhile
        pieces = answer(
            workspace,
            model,
            text,
            temperature=temperature,
            top_p=top_p,
            top_k=top_k,
            max_tokens=max_tokens,
            seed=seed,
            system=system,
            warn=lambda sentence: print(sentence, file=sys.stderr),
        )
        for piece in pieces:
            print(piece, end="", flush=True)
    print()
