"""The last screen of a run: what was done, how good it is, what was promoted, and where to look next."""

from __future__ import annotations

from rich.console import Group, RenderableType
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from core.errors import redacted
from flows.run import Result


def last_screen(result: Result) -> RenderableType:
    """Everything a newcomer needs after a run, top to bottom."""
    prepared, finished = result.prepared, result.finished
    table = Table(header_style="bold", box=None, padding=(0, 2, 0, 0))
    for name, justify in (
        ("stage", "left"),
        ("", "left"),
        ("time", "right"),
        ("key metric", "left"),
        ("baselines", "left"),
    ):
        table.add_column(name, justify=justify)
    for stage, state, took, metric, beside, _ in finished.rows:
        style = "dim" if state.startswith("cached") else "green" if state == "run" else ""
        table.add_row(stage, Text(state, style=style), took, Text(metric, style="bold"), Text(beside, style="dim"))
    parts: list[RenderableType] = [""]
    if prepared.board.all_cached:
        parts.append(Text("Nothing changed: every stage is cached.", style="bold"))
        parts.append("")
    parts += [table, ""]
    parts += [Text(f"Promoted: {line}", style="bold green") for line in finished.promoted]
    parts += [Text(f"Not promoted: {line}", style="yellow") for line in finished.refused]
    parts += [Text(f"Awaits approval: {line}", style="yellow") for line in finished.awaiting]
    if not finished.promoted:
        parts += [Text(f"{alias} is {version}") for alias, version in finished.champions.items()]
    parts += [Text(f"Note: {note}", style="yellow") for note in (*prepared.board.notes, *finished.notes)]
    if prepared.worktree is not None:
        kept = f"refs/stemma/runs/{prepared.run}" if prepared.run in finished.sync.snapshots else "DVC's cache"
        parts.append(Text(f"Isolated: your files are unchanged; the exact tree of the run is {kept}"))
    parts.append(Panel(_next_steps(result), title="Where to look next", title_align="left", border_style="dim"))
    return Group(*parts)


def _next_steps(result: Result) -> Table:
    uri = redacted(result.prepared.workspace.mlflow_uri)
    uri = uri.replace(f"sqlite:///{result.prepared.workspace.root}/", "sqlite:///")
    steps = Table.grid(padding=(0, 3))
    steps.add_column(overflow="fold", ratio=3)
    steps.add_column(overflow="fold", ratio=2)
    # The model that answers questions, where there is one.
    model = min(result.finished.champions, key=lambda name: (not name.startswith("assistant@"), name), default=None)
    if model:
        steps.add_row(
            f'stemma generate {model} "What is the default of mode? def read ( path , mode = 1 )"',
            Text("try the model", style="dim"),
        )
        steps.add_row(f"stemma trace {model}", Text("the data, code and runs that made it", style="dim"))
    else:
        steps.add_row("stemma models", Text("every model version", style="dim"))
    mlflow = uri if uri.startswith("http") else f"mlflow ui --backend-store-uri {uri}"
    steps.add_row(mlflow, Text("curves, plots, comparison of runs", style="dim"))
    steps.add_row("reports/<stage>.html", Text("what each stage did, in a browser", style="dim"))
    return steps
