"""``stemma keys``: the API keys of the gateway and the console, and a new key to sign with."""

from __future__ import annotations

from typing import Annotated, Literal

import typer

EPILOG = """[bold]Examples[/]

stemma keys add laptop                         shows the key, once

stemma keys add ada --role operator            opens the console too, where Ada may promote and roll back

stemma keys list

stemma keys revoke laptop                      a running gateway refuses it from the next request

stemma keys rotate                             a new key to sign with; what the old one signed stays valid
"""

NONE_LEFT = "the gateway refuses every request until `stemma keys add NAME` makes another"
Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]
Role = Literal["viewer", "operator", "admin"]
Name = Annotated[str, typer.Argument(metavar="NAME", help="Name of the key's owner or use.")]


def register(app: typer.Typer) -> None:
    keys = typer.Typer(
        help="Make, list and revoke API keys of the gateway and the console; replace the key that signs.",
        epilog=EPILOG, no_args_is_help=True, rich_markup_mode="rich",
    )  # fmt: skip
    keys.command()(add)
    keys.command("list")(list_keys)
    keys.command()(revoke)
    keys.command()(rotate)
    app.add_typer(keys, name="keys")


def add(
    name: Name,
    role: Annotated[Role | None, typer.Option(help="May open the console, too: to see, to operate, or all.")] = None,
    as_json: Json = False,
) -> None:
    """Make a key and show it, once: only its SHA-256 is kept, in `api_keys.json` in the workspace's home.

    In the console a viewer sees everything, an operator also promotes through the gate and rolls back, an admin also
    promotes against the gate. What they do is recorded with the key's name.
    """
    import sys

    from cli.output import print_json
    from core.workspace import Workspace
    from deploy.gateway import api_keys

    key = api_keys.add(Workspace.find().home, name, role)
    if as_json:
        print_json({"name": name, "key": key, "role": role})
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
         "file" if key.created else api_keys.VARIABLE, key.role or "")
        for key in api_keys.load(home)
    ]  # fmt: skip
    if as_json:
        print_json([dict(zip(("name", "created", "from", "role"), row, strict=True)) for row in rows])
    elif rows:
        print_table(("name", "created", "from", "console"), rows)
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


def rotate(as_json: Json = False) -> None:
    """Make a new signing key; the public key of the one before stays trusted here.

    For a key that was lost, or that others may have read. In the second case look at what it signed since (`stemma
    history`), promote again what should stand, and then remove the old key's file, which this names.
    """
    from cli.output import print_json
    from core import layout
    from core.keys import rotate as rotate_key
    from core.workspace import Workspace

    workspace = Workspace.find()
    before, now = rotate_key(workspace)
    kept = layout.trusted_keys(workspace.home) / f"rotated-{before[:12]}.pem" if before is not None else None
    if as_json:
        print_json({"before": before, "key": now, "kept": str(kept) if kept else None})
        return
    print(f"The new signing key is {now[:12]} ({layout.signing_key(workspace.home)}).")
    if before is not None:
        print(f"What the old one ({before[:12]}) signed stays valid while its public key is here: {kept}")
    else:
        print(
            "No public key of an earlier one is known; if there was one, copy it as NAME.pem into "
            f"{layout.trusted_keys(workspace.home)}, or what it signed is not trusted here."
        )
    print(f"Give the new public key to those who verify your models: {layout.signing_public(workspace.home)}")
