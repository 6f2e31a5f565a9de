"""A stage made ready to run: everything that can be validated and known before its worker starts."""

from __future__ import annotations

import contextlib
import os
import shutil
import stat
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

import components
from components import code, compute
from components.compute.parameters import Compute
from components.contract import ArtifactSpec, Component
from components.harness import parameters as params
from components.harness.fingerprint import code_digest, data_digest, fingerprint
from core.errors import InputProblem
from core.layout import slug
from core.parameters_file import read
from core.workspace import Workspace

MINIMUM_FREE_BYTES = 50_000_000
FolderState = tuple[tuple[str, int, int, int], ...]  # of each file: path, bytes, time of change in ns, inode


@dataclass(frozen=True)
class Job:
    """A stage made ready to run: everything known before the worker starts."""

    stage: str
    component: Component
    instance: str | None
    parameters: Any
    seed: int
    root: Path
    home: Path
    run: str
    inputs: tuple[tuple[ArtifactSpec, str, int], ...]
    outputs: tuple[ArtifactSpec, ...]
    code: str
    fingerprint: str
    states: Mapping[str, FolderState]
    compute: Compute
    skipped: str | None = None  # why there is nothing to do

    @property
    def slug(self) -> str:
        return slug(self.stage)

    @property
    def output_paths(self) -> list[Path]:
        return [self.root / artifact.path for artifact in self.outputs]


def make_job(stage: str, start: Path | None = None) -> Job:
    """Validate everything that can be validated before any work is done.

    Raises:
        InputProblem: with every problem of the parameters and the inputs.
    """
    workspace = Workspace.find(start)
    root, home = workspace.root, workspace.home
    component, instance = _component(stage)
    problems: list[str] = []
    parameters: Any = None
    seed = params.DEFAULT_SEED
    values = read(root / "params.yaml")
    try:
        seed = params.seed_of(values)
    except InputProblem as problem:
        problems += problem.problems
    try:
        parameters = params.validate(values, component.name, component.parameters)
    except InputProblem as problem:
        problems += problem.problems
    where = Compute()
    try:
        where = compute.read(values).of(component.name)
    except InputProblem as problem:
        problems += problem.problems
    artifacts = []
    for artifact in (each.for_instance(instance) for each in component.inputs):
        if artifact.optional and parameters is not None and not artifact.when(parameters):
            continue
        if _is_there(root / artifact.path, artifact.optional):
            artifacts.append(artifact)
        elif not artifact.optional:
            problems.append(f"{artifact.path}: missing; `dvc repro {stage}` makes what the stage needs first")
    states = {artifact.name: _state(root / artifact.path) for artifact in artifacts}  # before their bytes are read
    digests = {artifact.name: data_digest(root / artifact.path) for artifact in artifacts if artifact.optional}
    if parameters is not None:
        problems += component.check(parameters, root, {name: digest for name, (digest, _) in digests.items()})
        problems += params.problems_of_checkpoints(component.name, parameters)
        problems += compute.problems(component, where, parameters, os.environ)
    for folder in {root, _existing(home)}:
        if (free := shutil.disk_usage(folder).free) < MINIMUM_FREE_BYTES:
            problems.append(
                f"{folder}: no disk space ({free / 1e6:.0f} MB free, {MINIMUM_FREE_BYTES / 1e6:.0f} MB needed)"
            )
    if problems:
        raise InputProblem(problems)
    inputs = tuple((each, *(digests.get(each.name) or data_digest(root / each.path))) for each in artifacts)
    digest = code_digest(root, code.of(component.name, root))
    name = fingerprint(digest, parameters.model_dump(mode="json"), seed, {a.name: digest for a, digest, _ in inputs})
    outputs = tuple(artifact.for_instance(instance) for artifact in component.outputs)
    skipped = _nothing_to_do(component, parameters, root, artifacts)
    return Job(
        stage, component, instance, parameters, seed, root, home, _run_name(), inputs, outputs, digest, name, states,
        where, skipped,
    )  # fmt: skip


def _nothing_to_do(component: Component, parameters: Any, root: Path, artifacts: list[ArtifactSpec]) -> str | None:
    """Why the stage is skipped: a model that it needs was not made, or the component's own reason."""
    missing = [each.path for each in artifacts if each.type == "model" and not _is_there(root / each.path, True)]
    if missing:
        return f"no {' and no '.join(missing)}"
    return component.nothing_to_do(parameters, {each.name: root / each.path for each in artifacts})


def changes(job: Job) -> list[str]:
    """What is no longer as the stage read it, each with what to do.

    DVC notes the state of a stage's dependencies after it ran: it would take the outputs for those of what came later.
    """
    advice = "the outputs were not published; run the stage again"
    found = []
    for artifact, digest, _ in job.inputs:
        path = job.root / artifact.path
        if not path.exists() or (_state(path) != job.states[artifact.name] and data_digest(path)[0] != digest):
            found.append(f"{artifact.path}: changed while {job.stage} ran; {advice}")
    read_inputs = {artifact.name for artifact, _, _ in job.inputs}
    for artifact in (each.for_instance(job.instance) for each in job.component.inputs):
        used = artifact.when(job.parameters)
        if used and artifact.name not in read_inputs and _is_there(job.root / artifact.path, artifact.optional):
            found.append(f"{artifact.path}: appeared while {job.stage} ran; {advice}")
    undo = f"{advice}, or undo the change first: then it goes on from its checkpoint"
    if _parameters(job) != (job.parameters, job.seed):
        found.append(f"params.yaml: {job.component.name} or seed changed while {job.stage} ran; {undo}")
    if code_digest(job.root, code.of(job.component.name, job.root)) != job.code:
        found.append(f"components: the code of {job.stage} changed while it ran; {undo}")
    return found


def _parameters(job: Job) -> tuple[Any, int] | None:
    """The stage's parameters and the seed as params.yaml has them now."""
    with contextlib.suppress(InputProblem, OSError):
        values = read(job.root / "params.yaml")
        return params.validate(values, job.component.name, job.component.parameters), params.seed_of(values)
    return None


def _state(path: Path) -> FolderState:
    """What differs where a file or folder changed, found without reading its bytes."""
    files = sorted(path.rglob("*")) if path.is_dir() else [path]
    found = []
    for file in files:
        with contextlib.suppress(FileNotFoundError):
            about = file.stat()
            if not stat.S_ISDIR(about.st_mode):
                found.append((file.as_posix(), about.st_size, about.st_mtime_ns, about.st_ino))
    return tuple(found)


def _component(stage: str) -> tuple[Component, str | None]:
    name, _, instance = stage.partition("@")
    try:
        component = components.load(name)
    except KeyError as error:
        raise InputProblem(error.args[0]) from None
    if (instance or None) not in (component.instances or (None,)):
        known = ", ".join(f"{name}@{each}" for each in component.instances) or name
        raise InputProblem(f"{stage}: no such stage; there is: {known}")
    return component, instance or None


def _run_name() -> str:
    """The pipeline run's name: given by the process that started it, or derived from the `dvc repro` above this one."""
    if name := os.environ.get("STEMMA_RUN"):
        return name
    process = psutil.Process()
    for ancestor in process.parents():
        with contextlib.suppress(psutil.Error):  # it may end or be another user's
            if any(Path(part).name == "dvc" for part in ancestor.cmdline()[:3]):
                process = ancestor
                break
    kind = "dvc" if process.pid != os.getpid() else "stage"
    return f"{kind}-{time.strftime('%Y%m%d-%H%M%S', time.localtime(process.create_time()))}-{process.pid}"


def _is_there(path: Path, optional: bool) -> bool:
    """True for anything at ``path``; of an optional input, for a folder with a file in it."""
    return any(each.is_file() for each in path.rglob("*")) if optional else path.exists()


def _existing(path: Path) -> Path:
    while not path.exists():
        path = path.parent
    return path
