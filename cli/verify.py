"""``stemma verify``: are these the files that were registered and signed?"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

EPILOG = """[bold]Examples[/]

stemma verify assistant@champion

stemma verify --folder /srv/models/assistant      a copy, wherever it lies

Without Stemma: model_signing verify key FOLDER --signature FILE --public_key .stemma/keys/signing.pub
"""


def register(app: typer.Typer) -> None:
    app.command(epilog=EPILOG)(verify)


def verify(
    model: Annotated[
        str | None, typer.Argument(metavar="MODEL[:VERSION|@ALIAS]", help="The newest version if none is named.")
    ] = None,
    folder: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Check this folder instead: is it a signed, registered version?")
    ] = None,
    bundle: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Write the signature there, for other tools to check.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Check a version's bytes, its signatures, and that they name the parents that the registry records.

    Signatures count only by keys that are trusted here: this home's own, those in `.stemma/keys/trusted/*.pem`, and
    those that STEMMA_TRUSTED_KEYS names. Exit code 1: do not use these files.
    """
    from cli.output import print_json, say
    from core.workspace import Workspace
    from registry.integrity.verification import verify as verify_version
    from registry.integrity.verification import verify_folder, write_bundle

    if (model is None) == (folder is None):
        raise typer.BadParameter("name a model or a --folder, one of the two", param_hint="MODEL")
    workspace = Workspace.find()
    found = [verify_version(workspace, model)] if model is not None else []
    if folder is not None:
        found = verify_folder(workspace, folder)
    if bundle is not None:
        write_bundle(workspace, found[0].version, bundle)
    if as_json:
        print_json([each.as_dict() for each in found])
        return
    for each in found:
        say(f"{each.version} is what was registered and signed.")
        say(f"  bytes      {each.files}, md5 {each.digest}")
        for key in each.keys:
            say(f"  signed by  {key[:12]}, trusted here")
        if each.parents is None:
            say("  parents    not named: it was signed by the first release")
        for parent in each.parents or []:
            say(f"  made from  {parent['name']} ({parent['role']}), md5 {parent['digest']}")
