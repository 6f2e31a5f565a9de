"""``stemma diff``: what differs between two versions."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from registry.lineage.diff import DataDifference, MetricDifference, VersionDiff

FILES_SHOWN = 5


def register(app: typer.Typer) -> None:
    app.command(epilog="[bold]Example[/]: stemma diff assistant@champion assistant")(diff)


def diff(
    a: Annotated[str, typer.Argument(metavar="A", help="MODEL[:VERSION|@ALIAS]")],
    b: Annotated[str, typer.Argument(metavar="B", help="MODEL[:VERSION|@ALIAS]")],
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Show what differs between two versions: data, code, parameters, environment, metrics.

    Every stage of both family trees is compared. A difference of metrics within 1.96 standard errors is called noise.
    """
    from cli.output import print_json
    from core.workspace import Workspace
    from registry.db.database import open as open_registry
    from registry.integrity import history
    from registry.lineage.diff import diff as differences

    workspace = Workspace.find()
    with open_registry(workspace.registry_url) as registry, registry.read() as session:
        history.require_for(workspace, session, a, b)
        found = differences(session, workspace, a, b)
    if as_json:
        print_json(found.as_dict())
    else:
        _show(found)


def _show(found: VersionDiff) -> None:
    from cli.output import say

    say(f"{found.a} → {found.b}")
    for title, lines in (
        ("data", [_data(item) for item in found.data]),
        ("code", [f"{item.where}: {_value(item.a)} → {_value(item.b)}" for item in found.code]),
        ("parameters", [f"{item.where}: {_value(item.a)} → {_value(item.b)}" for item in found.parameters]),
        ("environment", [f"{item.where}: {_value(item.a)} → {_value(item.b)}" for item in found.environment]),
        ("metrics", [_metric(item) for item in found.metrics]),
    ):
        say(f"\n{title}{'' if lines else ': no difference'}")
        for line in lines:
            say(f"  {line}")
        if title == "code" and found.code_stat:
            say("\n".join(f"  {line}" for line in found.code_stat.splitlines()))


def _value(value: Any) -> str:
    return "-" if value is None else str(value)


def _data(item: DataDifference) -> str:
    line = f"{item.where}: {(item.a or '-')[:12]} → {(item.b or '-')[:12]}"
    parts = []
    for verb, names in (("added", item.added), ("removed", item.removed), ("changed", item.changed)):
        if names:
            more = f" and {len(names) - FILES_SHOWN} more" if len(names) > FILES_SHOWN else ""
            parts.append(f"{verb} {', '.join(names[:FILES_SHOWN])}{more}")
    return f"{line}  ({'; '.join(parts)})" if parts else line


def _metric(item: MetricDifference) -> str:
    from core.numbers import measured

    def shown(value: float | None, stderr: float | None) -> str:
        return "-" if value is None else measured(value, stderr)

    line = f"{item.name}: {shown(item.a, item.stderr_a)} → {shown(item.b, item.stderr_b)}"
    if item.difference is None:
        return line
    if not item.same_eval_set:
        return f"{line}  (on different evaluation sets: not comparable)"
    if not item.difference:
        return f"{line}  (equal)"
    direction = "" if item.better is None else ", better" if item.better else ", worse"
    noise = {True: "beyond noise", False: "within noise", None: "no standard error"}[item.beyond_noise]
    return f"{line}  ({item.difference:+.3g}{direction}, {noise})"
