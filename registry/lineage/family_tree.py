"""The family tree of a model as a picture: raw data on the left, the model on the right."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import TYPE_CHECKING

from core import files
from core.errors import WorkspaceError
from registry.lineage.trace import ArtifactNode, Trace

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.path import Path as MplPath

FORMATS = (".svg", ".png")
COLOURS = {"raw": "#e7dcc3", "dataset": "#d5e5f2", "tokenizer": "#e3d9ef", "model": "#d7ead0", "report": "#eeeeee"}
BOX = (2.6, 0.95)  # width, height of an artifact, in inches
GAP = (1.1, 0.3)  # between columns, between rows

Key = tuple[str, str]


def figure_of(trace: Trace) -> Figure:
    """One box an artifact: what it is, the stage that made it, its digest and key metric. One column a generation.

    Every artifact stands left of all that was made from it, at the longest way from the model.
    """
    from matplotlib.figure import Figure
    from matplotlib.patches import FancyArrowPatch, FancyBboxPatch

    nodes, edges = graph(trace)
    columns, routes = _routed(_columns(_key(trace.root), nodes, edges), edges)
    steps = {step for route in routes for step in itertools.pairwise(route)}
    columns = _ordered(columns, steps)
    width = len(columns) * (BOX[0] + GAP[0]) - GAP[0] + 0.6
    height = max(len(column) for column in columns) * (BOX[1] + GAP[1]) - GAP[1] + 1.0
    figure = Figure(figsize=(width, height))
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set(xlim=(0, width), ylim=(0, height))
    axes.set_axis_off()
    aliases = "".join(f" @{alias}" for alias in trace.aliases)
    axes.text(width / 2, height - 0.3, f"{trace.model}:{trace.version}{aliases}", ha="center", va="center", size=13)
    middle: dict[Key, tuple[float, float]] = {}  # of each slot: left edge, height
    for index, column in enumerate(columns):
        used = len(column) * (BOX[1] + GAP[1]) - GAP[1]
        top = (height - 0.6 + used) / 2
        for row, key in enumerate(column):
            x, y = 0.3 + index * (BOX[0] + GAP[0]), top - row * (BOX[1] + GAP[1]) - BOX[1]
            middle[key] = (x, y + BOX[1] / 2)
            if key not in nodes:
                continue
            is_root = key == _key(trace.root)
            axes.add_patch(
                FancyBboxPatch(
                    (x, y), *BOX, boxstyle="round,pad=0,rounding_size=0.08", edgecolor="#333333",
                    facecolor=COLOURS.get(nodes[key].type, "#ffffff"), linewidth=2.2 if is_root else 0.9,
                )
            )  # fmt: skip
            _write(axes, nodes[key], x, y)
    for route in sorted(routes):
        points = [(middle[route[0]][0] + BOX[0], middle[route[0]][1])]
        for waypoint in route[1:-1]:  # straight through the slot that is kept free for it
            x, y = middle[waypoint]
            points += [(x, y), (x + BOX[0], y)]
        points.append(middle[route[-1]])
        axes.add_patch(
            FancyArrowPatch(path=_smooth(points), arrowstyle="-|>", mutation_scale=11, color="#666666", zorder=0)
        )
    return figure


def write_figure(trace: Trace, path: Path) -> None:
    """Write :func:`figure_of` as SVG or PNG, whole or not at all; equal trees give equal bytes.

    Raises:
        WorkspaceError: the path ends neither in .svg nor in .png, or its folder is missing.
    """
    from matplotlib import rc_context

    kind = path.suffix.lower()
    if kind not in FORMATS:
        raise WorkspaceError(f"{path}: a figure is written as {' or '.join(FORMATS)}; end the name with one of them")
    if not path.parent.is_dir():
        raise WorkspaceError(f"{path.parent}: no such folder; make it first, or name another file")
    metadata = {"Date": None} if kind == ".svg" else {"Software": None}
    with rc_context({"svg.hashsalt": "stemma", "svg.fonttype": "none"}), files.replacing(path) as file:
        figure_of(trace).savefig(file, format=kind[1:], dpi=110, metadata=metadata)


def _key(node: ArtifactNode) -> Key:
    return node.type, node.digest


def graph(trace: Trace) -> tuple[dict[Key, ArtifactNode], set[tuple[Key, Key]]]:
    nodes = {_key(node): node for node in trace.artifacts()}
    edges = {
        (_key(read), key)
        for key, node in nodes.items()
        if node.made_by
        for _, read in node.made_by.inputs
        if _key(read) != key  # a stage may return what it was given
    }
    return nodes, edges


def _columns(root: Key, nodes: dict[Key, ArtifactNode], edges: set[tuple[Key, Key]]) -> list[list[Key]]:
    """Artifacts by their longest way to the model, the farthest first."""
    distance = {root: 0}
    # At most as many rounds as artifacts, so that bytes that were made from themselves end it too.
    for _ in nodes:
        farther = {source: distance[target] + 1 for source, target in sorted(edges)
                   if target in distance and distance[target] + 1 > distance.get(source, 0)}  # fmt: skip
        if not farther:
            break
        distance |= farther
    used = sorted({distance.get(key, 0) for key in nodes}, reverse=True)
    return [[key for key in nodes if distance.get(key, 0) == step] for step in used]


def _routed(columns: list[list[Key]], edges: set[tuple[Key, Key]]) -> tuple[list[list[Key]], list[tuple[Key, ...]]]:
    """The columns with a free slot wherever an arrow passes, and each arrow's way through the slots."""
    index = {key: number for number, column in enumerate(columns) for key in column}
    columns, routes = [list(column) for column in columns], []
    for source, target in sorted(edges):
        passed = range(index[source] + 1, index[target])
        # Arrows of one source share their way as long as they can.
        way = [("", f"{'/'.join(source)} in column {number}") for number in passed]
        for number, slot in zip(passed, way, strict=True):
            if slot not in columns[number]:
                columns[number].append(slot)
        routes.append((source, *way, target))
    return columns, routes


def _smooth(points: list[tuple[float, float]]) -> MplPath:
    """Horizontal at every point: cubic Béziers between columns, straight lines through slots."""
    from matplotlib.path import Path as MplPath

    vertices, codes = [points[0]], [MplPath.MOVETO]
    for (x0, y0), (x1, y1) in itertools.pairwise(points):
        half = (x0 + x1) / 2
        vertices += [(half, y0), (half, y1), (x1, y1)]
        codes += [MplPath.CURVE4] * 3
    return MplPath(vertices, codes)


def _ordered(columns: list[list[Key]], edges: set[tuple[Key, Key]]) -> list[list[Key]]:
    """Each column sorted by the mean place of its neighbours, so that fewer arrows cross (Sugiyama's barycenters)."""
    for _ in range(4):
        for sweep in (columns, columns[::-1]):
            place = {key: (row + 0.5) / len(column) for column in columns for row, key in enumerate(column)}
            for column in sweep:
                neighbours = {
                    key: [place[s] for s, t in edges if t == key] + [place[t] for s, t in edges if s == key]
                    for key in column
                }
                column.sort(key=lambda key: sum(neighbours[key]) / max(1, len(neighbours[key])))
                place |= {key: (row + 0.5) / len(column) for row, key in enumerate(column)}
    return columns


def _write(axes: Axes, node: ArtifactNode, x: float, y: float) -> None:
    made_by = node.made_by
    made = (
        f"{made_by.stage} {made_by.component_version}"
        if made_by
        else (node.origin or node.type if node.complete else "origin unknown")
    )
    metric = f"{node.metric.name} {node.metric.value:.4g}" if node.metric else ""
    if node.metric and node.metric.stderr:
        metric += f" ± {node.metric.stderr:.1g}"
    for line, (text, size, weight) in enumerate(
        ((node.model or node.name, 9.5, "bold"), (f"{made}  {node.digest[:8]}", 8, "normal"), (metric, 8, "normal"))
    ):
        shown = text if len(text) <= 36 else f"{text[:35]}…"
        axes.text(x + 0.1, y + BOX[1] - 0.24 - line * 0.27, shown, size=size, weight=weight, va="center")
