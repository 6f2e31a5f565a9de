"""What is installed, where things lie, and which known pitfalls apply: the findings of ``stemma doctor``."""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from importlib import metadata
from typing import Any

OK, WARN, FAIL = "ok", "warn", "fail"
DISTRIBUTION = "stemma-llm"
LOW_BYTES, TOO_LOW_BYTES = 5_000_000_000, 500_000_000
# Why a version is pinned, where a newer one breaks without a clear error.
PITFALLS = {
    "fastapi": "from 0.151 on every Prefect 3.8 API server dies at import, although `pip check` passes",
    "sqlalchemy": "from 2.1 on Prefect's server looks healthy and schedules no run",
    "torch": "an unpinned torch pulls gigabytes of CUDA libraries",
}


@dataclass(frozen=True)
class Finding:
    """One line of the examination; ``text`` of a warning or failure says what to do."""

    state: str
    name: str
    text: str

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


def examine(*, quick: bool = False) -> list[Finding]:
    """Every finding; one examination that breaks does not hide the others.

    Args:
        quick: leave out what takes seconds: devices (torch is imported for them), DVC, servers.
    """
    findings: list[Finding] = []
    slow = () if quick else (_devices, _dvc, _servers)
    for examination in (_python, _packages, _git, _workspace, _disk, *slow):
        try:
            findings += examination()
        except Exception as error:
            findings.append(Finding(FAIL, examination.__name__.strip("_"), f"{type(error).__name__}: {error}"))
    return findings


def _python() -> Iterator[Finding]:
    good = sys.version_info >= (3, 11)
    text = f"{platform.python_version()} at {sys.executable} on {platform.platform()}"
    yield Finding(OK if good else FAIL, "python", text if good else f"{text}; 3.11 or newer is needed")


def _packages() -> Iterator[Finding]:
    from packaging.requirements import Requirement

    requirements = [Requirement(text) for text in metadata.requires(DISTRIBUTION) or []]
    needed = [r for r in requirements if r.marker is None or r.marker.evaluate({"extra": ""})]
    for requirement in needed:
        try:
            version = metadata.version(requirement.name)
        except metadata.PackageNotFoundError:
            yield Finding(FAIL, requirement.name, f"not installed; `make setup` installs {requirement}")
            continue
        if requirement.specifier.contains(version, prereleases=True):
            yield Finding(OK, requirement.name, version)
        else:
            why = f": {PITFALLS[requirement.name]}" if requirement.name in PITFALLS else ""
            yield Finding(FAIL, requirement.name, f"{version}, but {requirement} is needed{why}")


def _devices() -> Iterator[Finding]:
    import torch

    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    yield Finding(OK, "cpu", f"{cores} cores, {torch.get_num_threads()} torch threads")
    for index in range(torch.cuda.device_count()):
        properties = torch.cuda.get_device_properties(index)
        yield Finding(OK, f"cuda:{index}", f"{properties.name}, {properties.total_memory / 2**30:.0f} GiB")
    if torch.backends.mps.is_available():
        yield Finding(OK, "mps", "Apple GPU")


def _git() -> Iterator[Finding]:
    version = subprocess.run(["git", "--version"], capture_output=True, text=True, check=True).stdout.strip()
    yield Finding(OK, "git", version.removeprefix("git version "))


def _workspace() -> Iterator[Finding]:
    from core.errors import WorkspaceError
    from core.git import git
    from core.workspace import Workspace
    from flows.pipeline import parameters
    from flows.pipeline.raw_data import RAW

    try:
        workspace = Workspace.find()
    except WorkspaceError as error:
        yield Finding(FAIL, "workspace", str(error))
        return
    yield Finding(OK, "workspace", str(workspace.root))
    yield Finding(OK, "home", str(workspace.home))
    commit = git(workspace.root, "rev-parse", "--short", "HEAD", check=False)
    dirty = bool(git(workspace.root, "status", "--porcelain", check=False))
    edits = " with uncommitted edits (they are kept in each run's snapshot)" if dirty else ""
    yield Finding(
        OK if commit else WARN,
        "commit",
        f"{commit}{edits}" if commit else "none yet; commit once, so that runs name one",
    )
    try:
        problems = parameters.problems_in(parameters.load(workspace.root))
    except Exception as error:
        problems = str(error).splitlines()
    yield Finding(FAIL if problems else OK, "params.yaml", "\n".join(problems) or "valid")
    raw = workspace.root / RAW
    if not raw.is_dir():
        yield Finding(WARN, str(RAW), "missing; `stemma init` makes it")
    else:
        count = sum(1 for file in raw.rglob("*") if file.is_file())
        tracked = "tracked by DVC" if raw.with_name("raw.dvc").exists() else "not tracked yet; `stemma run` does it"
        yield Finding(OK, str(RAW), f"{count} files, {tracked}" if count else "empty: the default sources are used")


def _dvc() -> Iterator[Finding]:
    from core import dvc
    from core.workspace import Workspace
    from flows.pipeline import graph

    root = Workspace.find().root
    if not (root / ".dvc").is_dir():
        yield Finding(FAIL, "dvc", f"not initialised; run `dvc init` in {root}")
        return
    cache = dvc.cache_folder(root)
    yield Finding(OK, "dvc cache", str(cache))
    yield Finding(OK, "dvc.yaml", f"{len(graph.read(root).order)} stages")


def _servers() -> Iterator[Finding]:
    from core.errors import redacted
    from core.mlflow_store import moved_from
    from core.workspace import Workspace
    from registry.promotion.mirror import unreachable

    workspace = Workspace.find()
    why = unreachable(workspace.mlflow_uri)
    text = (
        f"{why}; runs go on without it, and are logged there when it is back" if why else redacted(workspace.mlflow_uri)
    )
    yield Finding(WARN if why else OK, "mlflow at", text)
    for folder, count in moved_from(workspace.home).items():
        text = (
            f"{count} addresses lead to {folder}, where this workspace was before it was moved or copied; "
            "the next `stemma up` or run changes them to this folder"
        )
        yield Finding(WARN, "mlflow artifacts", text)
    yield Finding(OK, "registry at", redacted(workspace.registry_url))
    if url := os.environ.get("PREFECT_API_URL"):
        why = unreachable(url)
        text = f"{why}; start it, or unset PREFECT_API_URL" if why else redacted(url)
        yield Finding(FAIL if why else OK, "prefect at", text)
    else:
        yield Finding(OK, "prefect at", "a server of its own for each `stemma run`; set PREFECT_API_URL to use yours")
        timeout = float(os.environ.get("PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS", "20"))
        if timeout < 60:
            text = (
                f"flows started by other means than `stemma` use Prefect's ephemeral server, which may need longer "
                f"than its {timeout:.0f} s: export PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS=120"
            )
            yield Finding(WARN, "prefect ephemeral", text)


def _disk() -> Iterator[Finding]:
    from core.workspace import Workspace

    free = shutil.disk_usage(Workspace.find().root).free
    text = f"{free / 1e9:,.1f} GB free"
    if free < TOO_LOW_BYTES:
        yield Finding(FAIL, "disk", f"{text}: not enough for a run; free some")
    else:
        yield Finding(
            OK if free > LOW_BYTES else WARN, "disk", text if free > LOW_BYTES else f"{text}: enough for a small run"
        )
