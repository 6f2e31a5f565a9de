"""``stemma impact``: what descends from a file, a digest or a model."""

from __future__ import annotations

from typing import Annotated

import typer

EPILOG = """[bold]Examples[/]

stemma impact data/raw/alice.txt    which models contain this file, whatever it held over time

stemma impact 9e107d9d372bb6826bd81d3542a419d6    the same by the md5 of its content

stemma impact base:2    which models were made from this one
"""


def register(app: typer.Typer) -> None:
    app.command(epilog=EPILOG)(impact)


def impact(
    subject: Annotated[
        str,
        typer.Argument(metavar="PATH|DIGEST|MODEL", help="A file or folder, an md5 or its start, or a model."),
    ],
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Show everything that descends from a file, a digest or a model: artifacts, versions, aliases, deployments.

    This answers a deletion request: which models, served or not, contain this file? A file of a folder is found in
    every recorded version of the folder, by its contents over time.
    """
    from cli.output import print_json, print_table, say
    from core.workspace import Workspace
    from registry.db.database import open as open_registry
    from registry.integrity import history
    from registry.lineage.impact import impact as impact_of

    workspace = Workspace.find()
    with open_registry(workspace.registry_url) as registry, registry.read() as session:
        history.require_for(workspace, session, subject)
        found = impact_of(session, workspace, subject)
    if as_json:
        print_json(found.as_dict())
        return
    for origin in found.origins:
        inside = f" holds {origin.file} (md5 {origin.file_digest[:12]})" if origin.file and origin.file_digest else ""
        say(f"{origin.name} {origin.digest[:12]}{inside}")
    if not found.artifacts and not found.versions:
        say("Nothing descends from it.")
        return
    say(f"\n{len(found.artifacts)} artifacts and {len(found.versions)} model versions descend from it.\n")
    if found.versions:
        rows = [
            (str(version), " ".join(f"@{alias}" for alias in version.aliases), version.distance, version.digest[:12])
            for version in found.versions
        ]
        print_table(("version", "aliases", "steps away", "digest"), rows)
        print()
    for service in found.deployments:
        verb = "serves" if service.serving else f"({service.state.lower()}) served"
        say(f"Deployment {service.name} {verb} {service.version}{f' at {service.url}' if service.url else ''}")
    if not any(service.serving for service in found.deployments):
        say("No deployment serves any of them, as far as the registry knows.")
    if found.artifacts:
        print()
        print_table(
            ("artifact", "type", "steps away", "digest"),
            [(artifact.name, artifact.type, artifact.distance, artifact.digest[:12]) for artifact in found.artifacts],
        )
