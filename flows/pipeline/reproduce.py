"""Really makes a version again: its lineage, stage by stage, in a tree of its own, and compares what comes out."""

from __future__ import annotations

import contextlib
import re
import secrets
import shutil
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from core import dvc, layout
from core.dvc_lock import read_at
from core.errors import DvcError, InputProblem, WorkspaceError
from core.git import git
from core.prefork import Prefork
from core.processes import signals_as_exceptions
from core.workspace import Workspace
from flows.pipeline import graph
from flows.pipeline.execute import shown
from flows.pipeline.run_state import RunState
from flows.pipeline.stage_process import StageFailed, StageProcess, forking
from registry.db.database import open as open_registry
from registry.integrity.history import resolve
from registry.lineage.reproduction import (
    Comparison,
    Kind,
    LineageStage,
    RecipeDifference,
    StageComparison,
    compare_stage,
    judge,
    lineage,
    record,
    stage_in,
    tag_mlflow_runs,
)
from registry.promotion.parameters import PromotionParameters
from registry.store import worktrees
from registry.store.restore import Source, restore, source_of
from registry.store.run_locks import running

_LAST_LINES = 3
# What a line of DVC's status begins with, and what it is about; "its" is the command in dvc.yaml.
_KINDS: dict[str, Kind] = {"parameter": "parameters", "code": "code", "input": "input", "its": "code"}


@dataclass
class ReproducedVersion:
    """A version made again.

    Attributes:
        name: under which MLflow shows the second runs.
        tree: where the second run's files lie; ``None`` when they were taken away.
        seconds: that the stages took, by stage.
    """

    source: Source
    name: str
    comparison: Comparison
    tree: Path | None
    seconds: dict[str, float]
    notes: list[str] = field(default_factory=list)

    def as_dict(self) -> dict[str, Any]:
        return {
            **asdict(self.source),
            "name": self.name,
            **self.comparison.as_dict(),
            "tree": str(self.tree) if self.tree else None,
            "seconds": self.seconds,
            "notes": self.notes,
        }


def reproduce(
    workspace: Workspace,
    reference: str,
    *,
    tree: Path | None = None,
    keep: Path | None = None,
    say: Callable[[str], None],
    show: Callable[[RunState], contextlib.AbstractContextManager],
) -> ReproducedVersion:
    """Run the lineage of the version ``reference`` again and compare it with what is recorded; record the verdict.

    No cache of DVC's is read or written, and no checkpoint of the first run is found: scratch folders lie apart.

    Args:
        tree: a restored tree to run in, as it was edited; left in place. Without it one is restored.
        keep: where to restore it and leave it; without it, it is taken away at the end.
        show: opened around the work, to show the stages' state while it lasts.

    Raises:
        UnknownReference, WorkspaceError, MissingBytes, InvalidBytes, WorktreeFailed, DvcFailed: see :func:`restore`.
        StageStopped, Terminated: stopped from outside; nothing is recorded.
    """
    with open_registry(workspace.registry_url) as registry, registry.read() as session:
        source = source_of(workspace, session, resolve(workspace, session, reference))
    name = f"reproduction-{re.sub(r'[^A-Za-z0-9._-]', '-', source.version)}-{secrets.token_hex(3)}"
    apart = layout.reproductions(workspace.home) / name  # the stages' home: scratch, logs
    recorded = lineage(source, lambda path: read_at(workspace.root, source.commit, path))
    folder = (tree or keep or layout.worktrees(workspace.home) / name).absolute()
    holding, tree_holding = worktrees.hold(apart), worktrees.hold(folder)
    try:
        if tree is not None:
            root = _root_in(workspace, folder)
        else:
            root = restore(workspace, reference, folder, say, raw_only=True).root
        run_state = RunState(name, [stage.name for stage in recorded])
        with signals_as_exceptions(), running(workspace.home), show(run_state):
            with forking(root, run_state.lines) as prefork:
                comparison, made = _run_again(workspace, source, recorded, root, apart, run_state, prefork)
        result = ReproducedVersion(
            source, name, comparison, None, {s: x.seconds for s, x in run_state.lines.items() if x.seconds}
        )
        _keep_logs(workspace, apart, name)
        with open_registry(workspace.registry_url) as registry:
            record(registry, workspace, source, name, comparison, made)
        if note := tag_mlflow_runs(workspace, source, name, comparison, made):
            result.notes.append(note)
        return result
    finally:
        if tree is None and keep is None:
            worktrees.remove(workspace.root, folder)
        shutil.rmtree(apart, ignore_errors=True)
        worktrees.release(folder, tree_holding)
        worktrees.release(apart, holding)


def _root_in(workspace: Workspace, folder: Path) -> Path:
    """The workspace in a restored tree.

    Raises:
        WorkspaceError: it is none of this repository, or the user's own.
    """
    top = Path(git(workspace.root, "rev-parse", "--path-format=absolute", "--show-toplevel"))
    if folder.resolve() not in worktrees.folders(workspace.root) or folder.resolve() == top.resolve():
        raise WorkspaceError(f"{folder} is no restored tree of this workspace; make one with `stemma restore`")
    return folder / workspace.root.resolve().relative_to(top.resolve())


def _run_again(
    workspace: Workspace,
    source: Source,
    recorded: list[LineageStage],
    root: Path,
    apart: Path,
    run_state: RunState,
    prefork: Prefork | None,
) -> tuple[Comparison, dict[str, LineageStage]]:
    rules = PromotionParameters.load(workspace.root)
    # Where the metrics go is the workspace's; all else that a home holds is the reproduction's own.
    environment = {"MLFLOW_TRACKING_URI": workspace.mlflow_uri} if _has_mlflow(workspace) else {}
    stages: list[StageComparison] = []
    made: dict[str, LineageStage] = {}
    for stage in recorded:
        process = StageProcess(
            root, apart, run_state.run, stage.name, apart=True, environment=dict(environment), prefork=prefork
        )
        try:
            with shown(run_state, process) as tail:
                process.reproduce(tail.poll)
        except (StageFailed, InputProblem) as failure:
            stages.append(compare_stage(stage, None, _causes_of_failure(root, stage, failure)))
            break
        run_state.finish(stage.name, "ran")
        again = stage_in(root, stage.name)
        if again is not None:
            made[stage.name] = again
        stages.append(compare_stage(stage, again, [RecipeDifference(None, "the stage left no receipt")]))
    for name, line in run_state.lines.items():
        if line.state == "waiting":
            run_state.finish(name, "not reached")
    return judge(source, recorded, made, stages, rules), made


def _causes_of_failure(root: Path, stage: LineageStage, failure: StageFailed | InputProblem) -> list[RecipeDifference]:
    """What was not as recorded for a stage that failed, by DVC's word, and the failure's own last words."""
    causes: list[RecipeDifference] = []
    inputs = {item.path for item in stage.receipt.inputs}
    with contextlib.suppress(DvcError):
        for reason in graph.reasons(dvc.status(root, stage.name).get(stage.name, [])):
            first, _, rest = reason.partition(" ")
            if first in _KINDS:
                path = rest.split(" ")[0]
                kind: Kind = "code" if first == "input" and path not in inputs else _KINDS[first]
                causes.append(RecipeDifference(kind, rest, path if first in ("input", "code") else None))
    words = [line for line in str(failure).splitlines() if line.strip()][-_LAST_LINES:]
    return [*causes, RecipeDifference(None, "; ".join(words))]


def _has_mlflow(workspace: Workspace) -> bool:
    """True unless MLflow's database is the home's own and not there: the stages would set it up wrongly."""
    own = workspace.home / "mlflow.db"
    return workspace.mlflow_uri != f"sqlite:///{own}" or own.is_file()


def _keep_logs(workspace: Workspace, apart: Path, name: str) -> None:
    """The stages' logs, where those of every run lie."""
    logs = layout.run(apart, name)
    if logs.is_dir():
        layout.runs(workspace.home).mkdir(parents=True, exist_ok=True)
        shutil.move(logs, layout.run(workspace.home, name))
