"""The graph of stages, read from DVC: ``dvc.yaml`` is the one place that knows their order; and what is stale in it."""

from __future__ import annotations

import difflib
import re
from collections.abc import Collection, Iterable, Mapping
from dataclasses import asdict, dataclass
from functools import cached_property
from graphlib import TopologicalSorter
from pathlib import Path
from typing import Any, Literal

from ruamel.yaml.error import YAMLError

from core import bounded, dvc
from core.dvc_lock import LockUnreadable, stages_of
from core.errors import DvcError, InputProblem

_EDGE = re.compile(r'^"(?P<parent>[^"]+)" -> "(?P<child>[^"]+)";$')
_NODE = re.compile(r'^"(?P<node>[^"]+)";$')
_DEPENDENCY = {"modified": "changed", "new": "is new", "deleted": "is missing"}
_OUTPUT = {
    "modified": "was changed by hand",
    "deleted": "is missing",
    "new": "is new",
    "not in cache": "is not in DVC's cache",
}


@dataclass(frozen=True)
class Graph:
    """Stages by DVC's name (``evaluate@base`` for an instance) and the stages each one needs.

    Attributes:
        parents: for each stage the stages whose outputs it reads.
    """

    parents: dict[str, frozenset[str]]

    @cached_property
    def order(self) -> list[str]:
        """Every stage, upstream first; among equals the one with the longest way to go first, then by name."""
        sorter = TopologicalSorter(self.parents)
        sorter.prepare()
        order: list[str] = []
        while sorter.is_active():
            ready = sorted(sorter.get_ready(), key=lambda stage: (-self.height[stage], stage))
            order += ready
            sorter.done(*ready)
        return order

    @cached_property
    def children(self) -> dict[str, set[str]]:
        """For each stage the stages that read its outputs."""
        children: dict[str, set[str]] = {stage: set() for stage in self.parents}
        for stage, parents in self.parents.items():
            for parent in parents:
                children[parent].add(stage)
        return children

    @cached_property
    def height(self) -> dict[str, int]:
        """How many stages the longest way from a stage to the end has: the critical path is started first."""
        height: dict[str, int] = {}
        for stage in reversed(list(TopologicalSorter(self.parents).static_order())):
            height[stage] = 1 + max((height[child] for child in self.children[stage]), default=0)
        return height

    def ancestors(self, stages: Iterable[str]) -> set[str]:
        """The given stages and everything they need."""
        return _closure(stages, self.parents)

    def descendants(self, stages: Iterable[str]) -> set[str]:
        """The given stages and everything that needs them."""
        return _closure(stages, self.children)

    def resolve(self, name: str, option: str) -> list[str]:
        """The stages that ``name`` means: a stage, or a ``foreach`` group (``evaluate``) with all its instances.

        Raises:
            InputProblem: there is no such stage; says what there is.
        """
        found = [stage for stage in self.parents if stage == name or stage.split("@")[0] == name]
        if not found:
            known = list(dict.fromkeys([*self.order, *(stage.split("@")[0] for stage in self.order)]))
            near = difflib.get_close_matches(name, known, n=1)
            hint = f"did you mean {near[0]!r}?" if near else f"there are: {', '.join(self.order)}"
            raise InputProblem(f"{option}: no stage called {name!r}; {hint}")
        return sorted(found)

    def select(self, until: str | None = None, start: str | None = None) -> list[str]:
        """The stages to reproduce, upstream first.

        ``until`` keeps that stage and all it needs. ``start`` (the command's ``--from``) keeps that stage and what
        descends from it, and takes the stages above as they are, exactly like ``dvc repro --downstream``: nothing is
        forced, an unchanged stage stays cached. Both together keep what lies between.

        Raises:
            InputProblem: a stage is unknown, or no way leads from one to the other; every problem at once.
        """
        keep, problems = set(self.parents), []
        for option, name, reach in (("--until", until, self.ancestors), ("--from", start, self.descendants)):
            if name is not None:
                try:
                    keep &= reach(self.resolve(name, option))
                except InputProblem as problem:
                    problems += problem.problems
        if not keep and not problems:
            problems.append(f"--from {start} --until {until}: {until} does not descend from {start}; nothing to run")
        if problems:
            raise InputProblem(problems)
        return [stage for stage in self.order if stage in keep]


def read(root: Path) -> Graph:
    """The graph of the workspace's ``dvc.yaml``.

    Raises:
        InputProblem: DVC cannot read the pipeline; the message is DVC's.
    """
    try:
        return parse(dvc.run(root, "dag", "--dot"))
    except DvcError as error:
        raise InputProblem(f"dvc.yaml: {error}") from None


def read_with_status(root: Path) -> tuple[Graph, dict[str, list[Any]]]:
    """The graph, and what changed since the last reproduction (see :func:`core.dvc.status`), from one start of DVC.

    Raises:
        InputProblem: DVC cannot read the pipeline; the message is DVC's.
    """
    try:
        dot, status = dvc.run_both(root, ["dag", "--dot"], ["status", "--json"])
    except DvcError as error:
        raise InputProblem(f"dvc.yaml: {error}") from None
    return parse(dot), dvc.parse_status(status)


def names(root: Path) -> list[str]:
    """What ``--until`` and ``--from`` take, in ``dvc.yaml``'s order; none where it cannot be read.

    From the file itself: DVC takes a second to answer, which is too long for a list of choices.
    """
    try:
        stages = bounded.yaml((root / "dvc.yaml").read_bytes())["stages"]
        found = []
        for name, body in stages.items():
            instances = (body or {}).get("foreach") or []
            found += [name, *(f"{name}@{instance}" for instance in instances)]
    except (OSError, UnicodeDecodeError, YAMLError, AttributeError, KeyError, TypeError):
        return []
    return found


def parse(dot: str) -> Graph:
    """A graph from the text of ``dvc dag --dot``; files tracked by ``dvc add`` are no stages and are left out."""
    parents: dict[str, set[str]] = {}
    for line in dot.splitlines():
        if edge := _EDGE.match(line.strip()):
            parents.setdefault(edge["parent"], set())
            parents.setdefault(edge["child"], set()).add(edge["parent"])
        elif node := _NODE.match(line.strip()):
            parents.setdefault(node["node"], set())
    tracked = {name for name in parents if name.endswith(".dvc")}
    return Graph({stage: frozenset(needs - tracked) for stage, needs in parents.items() if stage not in tracked})


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


def staleness(graph: Graph, changed: Mapping[str, list[Any]]) -> list[Staleness]:
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
        files: dict[tuple[str, str], list[str]] = {}
        for path, what in change.get("changed deps", {}).items():
            if isinstance(what, Mapping):
                words += [f"parameter {name} {_DEPENDENCY.get(how, how)}" for name, how in what.items()]
            elif path == "params.yaml" and what == "new":
                words.append("it has not run yet")
            else:
                files.setdefault((_kind(path), _DEPENDENCY.get(what, what)), []).append(path)
        words = [*(f"{kind} {_some(paths)} {how}" for (kind, how), paths in files.items()), *words]
        words += [f"output {path} {_OUTPUT.get(what, what)}" for path, what in change.get("changed outs", {}).items()]
    return ["it has not run yet"] if "it has not run yet" in words else words


def moved_code(root: Path) -> str | None:
    """What to say of a workspace whose ``dvc.lock`` an earlier version wrote, whose code lay in other files."""
    try:
        stages = stages_of((root / "dvc.lock").read_bytes(), "dvc.lock").values()
    except (FileNotFoundError, LockUnreadable):
        return None
    code = {path for stage in stages for path in stage.deps if path.startswith("components/")}
    if all((root / path).exists() for path in code):
        return None
    return (
        "dvc.lock is of an earlier version of Stemma, whose code lay in other files: each stage that it made is stale "
        "once. Versions made before keep their own code (stemma restore, stemma reproduce). See docs/upgrade.md."
    )


def _some(paths: list[str], most: int = 3) -> str:
    return ", ".join(paths[:most]) + (f" and {len(paths) - most} more" if len(paths) > most else "")


def _kind(path: str) -> str:
    return "code" if path.startswith("components") else "input"


def _closure(stages: Iterable[str], step: Mapping[str, Collection[str]]) -> set[str]:
    reached, todo = set(), list(stages)
    while todo:
        stage = todo.pop()
        if stage not in reached:
            reached.add(stage)
            todo += step[stage]
    return reached
