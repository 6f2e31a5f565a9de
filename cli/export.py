"""``stemma export``: a version as a folder that others use without Stemma."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

EPILOG = """[bold]Examples[/]

stemma export assistant@champion ./assistant      a Hugging Face folder, with a model card and its signature

stemma export assistant:3 ./out --format gguf --quantize f16,q8_0      for llama.cpp

stemma export assistant@champion ./out --format ollama && cd out && ollama create assistant -f Modelfile
"""


class ExportFormat(StrEnum):
    """What the folder is for."""

    hf = "hf"
    gguf = "gguf"
    adapter = "adapter"
    ollama = "ollama"


def register(app: typer.Typer) -> None:
    app.command(epilog=EPILOG)(export)


def export(
    model: Annotated[
        str, typer.Argument(metavar="MODEL[:VERSION|@ALIAS]", help="The newest version if none is named.")
    ],
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="Where to write it: a new folder, or an empty one.")],
    format: Annotated[
        ExportFormat,
        typer.Option(
            help="hf: transformers, vLLM. gguf: llama.cpp. adapter: the PEFT adapter alone. ollama: GGUF and Modelfile."
        ),
    ] = ExportFormat.hf,
    quantize: Annotated[
        str, typer.Option(metavar="KIND[,KIND]", help="Numbers of a GGUF file: f32, f16, bf16, q8_0, q4_k_m ...")
    ] = "f16",
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Write a version into a folder, with a model card and signatures that are checked without Stemma.

    Its bytes and signatures are verified first. The folder is written whole or not at all. GGUF files are written by
    llama.cpp's converter where LLAMA_CPP names a folder of it or it is on PATH, else by Stemma.
    """
    import sys

    from cli.output import print_json, say
    from core.workspace import Workspace
    from deploy.export.export import export as export_version

    kinds = [kind.strip().lower() for kind in quantize.split(",") if kind.strip()]
    found = export_version(Workspace.find(), model, folder, format.value, kinds)
    if as_json:
        print_json(found.as_dict())
        return
    for note in found.notes:
        print(note, file=sys.stderr)
    say(f"{found.version} is in {found.folder} ({format.value}):")
    for name in found.names:
        say(f"  {(found.folder / name).stat().st_size / 1e6:10,.2f} MB  {name}")
