"""``stemma audit``: promotions, signatures, bytes and MLflow checked against the registry."""

from __future__ import annotations

from typing import Annotated

import typer

EPILOG = """[bold]Examples[/]

stemma audit

stemma audit --json | jq .first_broken
"""


def register(app: typer.Typer) -> None:
    app.command(epilog=EPILOG)(audit)


def audit(as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False) -> None:
    """Check every promotion, signature and byte, and that MLflow agrees with the registry.

    Promotions form a chain, each hashed over the one before and signed with the metrics it rests on; git knows the same
    history, so its end cannot be cut off unnoticed. Executions are compared with their signed receipts; every
    artifact's bytes are hashed again; every signature is verified by a trusted key. Bytes that are missing on this
    machine and bytes that differ are reported separately.
    Exit code 1: something is wrong or MLflow is behind; the first broken link is named.
    """
    from cli.output import print_json, print_table, say
    from core.workspace import Workspace
    from registry.integrity.audit import audit as audit_registry

    report = audit_registry(Workspace.find())
    if as_json:
        print_json(report.as_dict())
    else:
        checked = {
            "promotion": report.promotions,
            "artifact": report.artifacts,
            "signature": report.signatures,
        }
        counts = ", ".join(f"{count} {name}{'' if count == 1 else 's'}" for name, count in checked.items())
        aliases = f"{report.aliases} alias{'' if report.aliases == 1 else 'es'}"
        say(f"Checked {counts} and {aliases}; {report.bytes / 1e6:,.2f} MB hashed.")
        if report.findings:
            rows = [(finding.state, finding.part, finding.subject, finding.detail) for finding in report.findings]
            print_table(("", "part", "what", "found"), rows)
        if report.sound:
            notes = {finding.state for finding in report.findings}
            say("No check failed; the notes above could not be checked." if notes else "Every check passed.")
        else:
            first = report.broken[0]
            say(f"First broken link: {first.subject}: {first.detail}")
    if not report.sound:
        raise typer.Exit(1)
