"""Which stages are stale, and why, in plain words: DVC's ``status`` told for people."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal

from flows.pipeline.graph import Graph

_DEPENDENCY = {"modified": "changed", "new": "is new", "deleted": "is missing"}
_OUTPUT = {
    "modified": "was changed by hand",
    "deleted": "is missing",
    "new": "is new",
    "not in cache": "is not in DVC's cache",
}


@dataclass(frozen=True)
class Staleness:
    """What would happen to a stage now.

    Attributes:
        state: ``stale`` would run (or be restored from the run-cache), ``follows`` depends on a stale stage above.
        reasons: why, one line each.
    """

    stage: str
    state: Literal["up to date", "stale", "follows"]
    reasons: list[str]

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


def explain(graph: Graph, changed: Mapping[str, list[Any]]) -> list[Staleness]:
    """Every stage upstream first, from DVC's ``status --json``."""
    lines: list[Staleness] = []
    for stage in graph.order:
        if stage in changed:
            lines.append(Staleness(stage, "stale", reasons(changed[stage])))
            continue
        above = [parent for parent in graph.order if parent in changed and stage in graph.descendants([parent])]
        if above:
            lines.append(Staleness(stage, "follows", [f"depends on {', '.join(above)}"]))
        else:
            lines.append(Staleness(stage, "up to date", []))
    return lines


def reasons(changes: list[Any]) -> list[str]:
    """One stage's entry of ``dvc status --json`` in words."""
    words: list[str] = []
    for change in changes:
        if not isinstance(change, Mapping):
            words.append({"changed command": "its command in dvc.yaml changed"}.get(str(change), str(change)))
            continue
        for path, what in change.get("changed deps", {}).items():
            if isinstance(what, Mapping):
                words += [f"parameter {name} {_DEPENDENCY.get(how, how)}" for name, how in what.items()]
            elif path == "params.yaml" and what == "new":
                words.append("it has not run yet")
            else:
                words.append(f"{_kind(path)} {path} {_DEPENDENCY.get(what, what)}")
        words += [f"output {path} {_OUTPUT.get(what, what)}" for path, what in change.get("changed outs", {}).items()]
    return ["it has not run yet"] if "it has not run yet" in words else words


def _kind(path: str) -> str:
    return "code" if path.startswith("components") else "input"
