"""Measures a version that exists already on the evaluation set of today, for a comparison that is fair.

The stage that measures (``evaluate@base``) runs in a git worktree of the workspace's present tree, in which the model's
folder is replaced by the version's verified files; so code, parameters and data are those of the candidate. The
registry records it as any run of one stage, so it is done once.
"""

from __future__ import annotations

import re
import secrets
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import components
from components.harness.parameters import validate
from core import bounded, dvc, layout, parameters_file
from core.dvc import cache_folder
from core.errors import InputProblem, StemmaError
from core.workspace import Workspace
from flows.pipeline.raw_data import RAW
from flows.pipeline.stage_process import StageFailed, StageProcess, forking
from registry.errors import NotMeasured
from registry.lineage import receipts
from registry.lineage.sync import sync
from registry.promotion.measurements import Gap
from registry.promotion.promote import Measure
from registry.store import worktrees
from registry.store.materialize import materialize
from registry.store.run_locks import running
from registry.store.snapshot import snapshot


def measuring(workspace: Workspace, say: Callable[[str], None]) -> Measure:
    """The function that `promote` calls to have a version measured; ``say`` gets a line for each thing it does."""

    def measure(version: str, gap: Gap) -> None:
        say(f"{gap.stage} measures {version} on the present data")
        try:
            measure_on(workspace, version, gap)
        except InputProblem as problem:
            raise NotMeasured("; ".join(problem.problems)) from problem
        except StageFailed as failure:
            words = [line for line in str(failure).splitlines() if line.strip()]
            raise NotMeasured(f"it failed ({words[-1].strip()}; the whole log: {failure.log})") from failure
        except StemmaError as error:
            raise NotMeasured(str(error)) from error

    return measure


def measure_on(workspace: Workspace, version: str, gap: Gap, commit: str | None = None) -> str:
    """Have ``version`` measured by a stage in the tree of ``commit``; the run that the registry has it under.

    Args:
        commit: whose code, parameters and evaluation set are used; the workspace's present tree where not given.

    Raises:
        NotMeasured: the stage has never run in that tree.
        InputProblem, StageFailed, DvcError, RegistryError: see there.
    """
    with running(workspace.home):
        return _measure(workspace, version, gap, commit)


def _measure(workspace: Workspace, version: str, gap: Gap, commit: str | None) -> str:
    files = materialize(workspace, version)
    run = f"measure-{re.sub(r'[^A-Za-z0-9._-]', '-', version)}-{secrets.token_hex(3)}"
    folder = layout.worktrees(workspace.home) / run
    holding = worktrees.hold(folder)
    try:
        commit = commit or snapshot(workspace, run)
        root = worktrees.add(workspace.root, folder, commit, cache_folder(workspace.root))
        if needed := [*_data_of(root, gap), *_raw_data_of(root, gap.stage)]:
            dvc.run(root, "checkout", "--quiet", *needed)
        model = root / gap.path
        shutil.rmtree(model, ignore_errors=True)  # whatever it is, its bytes may be links into the cache
        shutil.copytree(files, model, copy_function=shutil.copyfile)
        # Forced: a metric that DVC remembers was not good enough, or no other would be needed.
        with forking(root, [gap.stage]) as prefork:
            StageProcess(root, workspace.home, run, gap.stage, force=True, prefork=prefork).reproduce()
        sync(Workspace(root, workspace.home), run=run, stages=[gap.stage], update_mlflow=False)
        return run
    finally:
        worktrees.remove(workspace.root, folder)
        worktrees.release(folder, holding)


def _data_of(root: Path, gap: Gap) -> list[str]:
    """Outputs of other stages that the measuring stage reads, the model apart."""
    stages = _locked(root)
    if gap.stage not in stages:
        raise NotMeasured(f"{gap.stage} has not run in this workspace; run `stemma run` first")
    made = {out["path"] for stage in stages.values() for out in stage.get("outs", [])}
    return [dep["path"] for dep in stages[gap.stage].get("deps", []) if dep["path"] in made and dep["path"] != gap.path]


def _raw_data_of(root: Path, stage: str) -> list[str]:
    """``data/raw``, where the stage reads it with the parameters of that tree, such as for benchmarks.

    Where it is a dependency that is not read, an empty folder stands for it.
    """
    if not any(dep["path"] == RAW.as_posix() for dep in _locked(root)[stage].get("deps", [])):
        return []
    (root / RAW).mkdir(parents=True, exist_ok=True)
    component = components.load(stage.partition("@")[0])
    parameters = validate(parameters_file.read(root / "params.yaml"), component.name, component.parameters)
    reads = any(each.type == "raw" and each.when(parameters) for each in component.inputs)
    return [RAW.as_posix()] if reads and (root / f"{RAW}.dvc").is_file() else []


def _locked(root: Path) -> dict[str, Any]:
    path = root / "dvc.lock"
    return (bounded.yaml(path.read_bytes(), fast=True) or {}).get("stages", {}) if path.is_file() else {}


def gap_of(root: Path, model: str) -> Gap:
    """The evaluation stage that reads a registered model, and where.

    Raises:
        NotMeasured: no evaluation stage reads it.
    """
    made = [output for record in receipts.read(root).stages for output in record.outputs]
    paths = {output.path for output in made if output.registered_model == model}
    for name, stage in _locked(root).items():
        for dep in stage.get("deps", []):
            if name.partition("@")[0] == "evaluate" and dep["path"] in paths:
                return Gap(name, dep["path"])
    raise NotMeasured(
        f"no evaluation stage of this workspace has read {model}: run `stemma run` first; a classifier or a reward "
        "model is measured by the stage that trains it"
    )
