"""``stemma backup`` and ``stemma backup restore``: everything that cannot be made again, backed up and restored."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer
from typer.core import TyperGroup


class _TakesADirectory(TyperGroup):
    """``stemma backup DIR`` is ``stemma backup create DIR``."""

    def parse_args(self, ctx, args: list[str]) -> list[str]:
        asks_for_help = any(word in ("--help", "-h") for word in args)
        if args and args[0] not in self.commands and not (asks_for_help and args[0].startswith("-")):
            args = ["create", *args]
        return super().parse_args(ctx, args)


def register(app: typer.Typer) -> None:
    verbs = typer.Typer(
        cls=_TakesADirectory,
        no_args_is_help=True,
        help="Back up everything that cannot be made again (`stemma backup DIR`), and restore it.",
        epilog="[bold]Examples[/]: stemma backup /var/backups/stemma   ·   stemma backup restore /var/backups/stemma",
    )
    verbs.command(
        "create",
        epilog="[bold]Examples[/]: stemma backup /var/backups/stemma   ·   "
        "stemma backup s3://backups/stemma   ·   stemma backup /mnt/safe --keys",
    )(create)
    verbs.command(
        "restore",
        epilog="[bold]Examples[/]: stemma backup restore /var/backups/stemma   ·   "
        "stemma backup restore /var/backups/stemma/stemma-20250101T020000Z --force",
    )(restore)
    app.add_typer(verbs, name="backup")


def create(
    target: Annotated[
        str,
        typer.Argument(metavar="DIR|URL", help="Folder or URL; the back-up becomes a folder in it, named by the time."),
    ],
    without: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME", help="Leave a database out: registry, mlflow, prefect or sweeps."),
    ] = None,
    keys: Annotated[
        bool, typer.Option("--keys", help="Include the signing keys; a person who has them can sign as you.")
    ] = False,
    unsigned: Annotated[
        bool, typer.Option("--unsigned", help="Do not sign it: on a machine that has no signing key.")
    ] = False,
    encrypt_to: Annotated[
        list[str] | None,
        typer.Option(
            metavar="RECIPIENT",
            help="Encrypt it with age to this public key (age1… or ssh-…); once for each who shall be able to restore.",
        ),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print what was backed up as JSON.")] = False,
) -> None:
    """Back up the registry's, MLflow's and Prefect's databases, git, DVC's bytes and MLflow's artifacts.

    Works with SQLite and PostgreSQL, without stopping anything. The databases are those that STEMMA_REGISTRY_URL,
    MLFLOW_BACKEND_STORE_URI and PREFECT_SERVER_DATABASE_CONNECTION_URL name, else those of the last `stemma up`. An
    interrupted back-up is never listed as one; files that the previous back-up holds are linked, not copied.

    It is signed by the workspace's key. Write the key's fingerprint down elsewhere: `stemma backup restore` on a new
    machine asks for it.
    """
    from cli.output import print_json
    from core.workspace import Workspace
    from deploy import backup

    with _shown() as progress:
        done = backup.create(
            Workspace.find(),
            target,
            without=without or (),
            keys=keys,
            unsigned=unsigned,
            encrypt_to=encrypt_to or (),
            progress=progress,
        )
    manifest = done.manifest
    if as_json:
        print_json(
            {
                "place": done.place,
                "bytes": manifest.bytes,
                "files": len(manifest.files),
                "linked_bytes": done.reused,
                "databases": manifest.databases,
                "left_out": manifest.left_out,
                "keys": manifest.keys,
                "encrypted_to": manifest.encrypted_to,
                "signed_by": done.signed_by,
            }
        )
        return
    print(f"Backed up to {done.place}: {len(manifest.files):,} files, {manifest.bytes:,} bytes, {done.reused:,} linked")
    for name, body in manifest.databases.items():
        print(f"  {name}: {body['engine']}, {body['file']}")
    for name, why in manifest.left_out.items():
        print(f"  {name}: not included, {why}")
    if done.signed_by:
        print(f"  signed by key {done.signed_by}")
    else:
        print("  not signed: `stemma backup restore` will refuse it without --unsigned")
    for each in manifest.encrypted_to:
        print(f"  encrypted to {each}")
    if manifest.keys:
        print("  signing keys: included; keep this back-up as safe as the keys themselves")
    else:
        print(
            "  signing keys: not included (--keys includes them); "
            "a workspace restored without them cannot sign as this one"
        )


def restore(
    source: Annotated[
        str, typer.Argument(metavar="DIR|URL", help="A back-up, or a folder of back-ups: the newest is used.")
    ],
    force: Annotated[bool, typer.Option("--force", help="Replace databases and keys that are not empty.")] = False,
    keys: Annotated[
        bool, typer.Option("--keys", help="Restore the keys in it too: they will sign and be trusted here.")
    ] = False,
    signed_by: Annotated[
        str | None, typer.Option(metavar="FINGERPRINT", help="The key that made it, where it is not trusted here yet.")
    ] = None,
    unsigned: Annotated[
        bool,
        typer.Option(
            "--unsigned",
            help="Take one that no trusted key signed. Anyone who could write it decides what is promoted here, and "
            "with PostgreSQL what the server executes.",
        ),
    ] = False,
    identity: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Private key (of age or SSH) that opens it, where the back-up is encrypted."),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print what was restored as JSON.")] = False,
) -> None:
    """Verify a back-up and its signature, then restore it into the databases and stores of this workspace.

    Stop the servers first. Files are added, never removed; a database that is not empty is replaced only with --force.
    """
    from datetime import datetime

    from cli.output import print_json
    from core.workspace import Workspace
    from deploy import backup

    with _shown() as progress:
        done = backup.restore(
            Workspace.find(),
            source,
            force=force,
            keys=keys,
            signed_by=signed_by,
            unsigned=unsigned,
            identity=identity,
            progress=progress,
        )
    if as_json:
        print_json({"files": len(done.manifest.files), "created": done.manifest.created, "restored": done.lines})
        return
    taken = datetime.fromtimestamp(done.manifest.created).astimezone().strftime("%Y-%m-%d %H:%M:%S %Z")
    print(f"Restored the back-up of {taken}; all {len(done.manifest.files):,} files verified")
    for line in done.lines:
        print(f"  {line}")
    if not done.manifest.keys:
        print("  signing keys: not in this back-up; the keys of this workspace are unchanged")
    print("Check it: stemma audit")


@contextmanager
def _shown() -> Iterator[Callable[[str, int, int], None]]:
    """A bar on a terminal; a line for each step elsewhere."""
    import sys

    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

    console = Console(stderr=True)
    if not console.is_terminal:
        printed: set[str] = set()

        def line(what: str, done: int, total: int) -> None:
            if what not in printed:
                printed.add(what)
                print(f"{what} ...", file=sys.stderr, flush=True)

        yield line
        return
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.percentage:.0f} %"),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=console) as bars:
        tasks = {}

        def bar(what: str, done: int, total: int) -> None:
            if what not in tasks:
                tasks[what] = bars.add_task(what, total=max(1, total))
            bars.update(tasks[what], completed=done if total else 1, total=max(1, total))

        yield bar
