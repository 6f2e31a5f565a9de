"""``stemma keys``: the API keys of the gateway."""

from __future__ import annotations

from typing import Annotated

import typer

EPILOG = """[bold]Examples[/]

stemma keys add laptop                         shows the key, once

stemma keys list

stemma keys revoke laptop                      a running gateway refuses it from the next request
"""

NONE_LEFT = "the gateway refuses every request until `stemma keys add NAME` makes another"
Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]
Name = Annotated[str, typer.Argument(metavar="NAME", help="Name of the key's owner or use.")]


def register(app: typer.Typer) -> None:
    keys = typer.Typer(
        help="Make, list and revoke the gateway's API keys.", epilog=EPILOG, no_args_is_help=True,
        rich_markup_mode="rich",
    )  # fmt: skip
    keys.command()(add)
    keys.command("list")(list_keys)
    keys.command()(revoke)
    app.add_typer(keys, name="keys")


def add(name: Name, as_json: Json = False) -> None:
    """Make a key and show it, once: only its SHA-256 is kept, in `api_keys.json` in the workspace's home."""
    import sys

    from cli.output import print_json
    from core.workspace import Workspace
    from deploy.gateway import api_keys

    key = api_keys.add(Workspace.find().home, name)
    if as_json:
        print_json({"name": name, "key": key})
        return
    print(key)
    print("Store it now; it is not shown again. Clients send it as `Authorization: Bearer KEY`.", file=sys.stderr)


def list_keys(as_json: Json = False) -> None:
    """List the keys' names; the keys themselves are not kept."""
    import datetime

    from cli.output import print_json, print_table
    from core import layout
    from core.workspace import Workspace
    from deploy.gateway import api_keys

    home = Workspace.find().home
    rows = [
        (key.name, datetime.datetime.fromtimestamp(key.created).isoformat(" ", "seconds") if key.created else "",
         "file" if key.created else api_keys.VARIABLE)
        for key in api_keys.load(home)
    ]  # fmt: skip
    if as_json:
        print_json([dict(zip(("name", "created", "from"), row, strict=True)) for row in rows])
    elif rows:
        print_table(("name", "created", "from"), rows)
    elif layout.api_keys(home).exists():
        print(f"No keys; {NONE_LEFT}.")
    else:
        print("No keys; `stemma keys add NAME` makes one. Until then the gateway listens on loopback only.")


def revoke(name: Name, as_json: Json = False) -> None:
    """Revoke a key."""
    from cli.output import print_json
    from core.workspace import Workspace
    from deploy.gateway import api_keys

    home = Workspace.find().home
    api_keys.revoke(home, name)
    if as_json:
        print_json({"name": name, "revoked": True})
    else:
        last = "" if api_keys.load(home) else f" It was the last one: {NONE_LEFT}."
        print(f"The key {name} is revoked.{last}")
