"""``stemma recipes``: the kinds of jobs that `stemma run --recipe NAME` runs."""

from __future__ import annotations

from typing import Annotated

import typer


def register(app: typer.Typer) -> None:
    app.command(epilog="[bold]Examples[/]: stemma recipes   ·   stemma run --recipe own-data")(recipes)


def recipes(as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False) -> None:
    """List the recipes: overlays on params.yaml, each for one kind of job.

    A recipe is a file `recipes/NAME.yaml`; its comments say for whom, on what machine, how long and what it costs.
    """
    from cli.output import print_json, print_table
    from core.workspace import find_root
    from flows.pipeline.recipes import recipes as recipes_of

    found = recipes_of(find_root())
    if as_json:
        print_json([{"name": recipe.name, "comments": recipe.comments} for recipe in found])
    elif found:
        print_table(("recipe", "what for"), [(recipe.name, "\n".join(recipe.comments)) for recipe in found])
    else:
        print("No recipes: the folder recipes/ holds no *.yaml file.")
