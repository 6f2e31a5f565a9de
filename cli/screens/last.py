"""The last screen of a run: what was done, how good it is, what was promoted, and where to look next."""

from __future__ import annotations

import shlex

from rich.console import Group, RenderableType
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from core.errors import redacted
from core.workspace import Workspace
from flows.pipeline.report import Summary

STYLES = {"Promoted": "bold green", "Not promoted": "yellow", "Awaits approval": "yellow"}


def last_screen(summary: Summary, workspace: Workspace) -> RenderableType:
    """Everything a newcomer needs after a run, top to bottom."""
    table = Table(header_style="bold", box=None, padding=(0, 2, 0, 0))
    for name in ("stage", "", "time", "key metric", "baselines"):
        table.add_column(name, justify="right" if name == "time" else "left")
    for stage, state, took, metric, beside, _ in summary.rows:
        style = "dim" if state.startswith("cached") else "green" if state == "run" else ""
        table.add_row(stage, Text(state, style=style), took, Text(metric, style="bold"), Text(beside, style="dim"))
    parts: list[RenderableType] = [""]
    if summary.unchanged:
        parts += [Text("Nothing changed: every stage is cached.", style="bold"), ""]
    parts += [table, ""]
    parts += [Text(f"{kind}: {line}", style=STYLES[kind]) for kind, line in summary.decisions]
    if not any(kind == "Promoted" for kind, _ in summary.decisions):
        parts += [Text(f"{alias} is {version}") for alias, version in summary.champions.items()]
    parts += [Text(f"Note: {note}", style="yellow") for note in summary.notes]
    if summary.kept is not None:
        parts.append(Text(f"Isolated: your files are unchanged; the exact tree of the run is {summary.kept}"))
    steps = _next_steps(summary, workspace)
    parts.append(Panel(steps, title="Where to look next", title_align="left", border_style="dim"))
    return Group(*parts)


def _next_steps(summary: Summary, workspace: Workspace) -> Table:
    uri = redacted(workspace.mlflow_uri).replace(f"sqlite:///{workspace.root}/", "sqlite:///")
    steps = Table.grid(padding=(0, 3))
    steps.add_column(overflow="fold", ratio=3)
    steps.add_column(overflow="fold", ratio=2)
    # The model that answers questions, where there is one.
    model = min(summary.champions, key=lambda name: (not name.startswith("assistant@"), name), default=None)
    if model:
        question = summary.question or "your question"
        steps.add_row(f"stemma generate {model} {shlex.quote(question)}", Text("try the model", style="dim"))
        steps.add_row(f"stemma trace {model}", Text("the data, code and runs that made it", style="dim"))
    else:
        steps.add_row("stemma models", Text("every model version", style="dim"))
    mlflow = uri if uri.startswith("http") else f"mlflow ui --backend-store-uri {uri}"
    steps.add_row(mlflow, Text("curves, plots, comparison of runs", style="dim"))
    steps.add_row("reports/<stage>.html", Text("what each stage did, in a browser", style="dim"))
    return steps
