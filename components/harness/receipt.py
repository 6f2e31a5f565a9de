"""The receipt of a stage: who really made its outputs, from what, with which result.

It is declared under ``metrics:`` with ``cache: false``, so a stage restored from DVC's run-cache brings back the
receipt of the execution that made its bytes.
"""

from __future__ import annotations

import json
import os
import platform
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

from components.harness.job import Job
from components.harness.parameters import non_default
from core.git import git

SCHEMA = 1
PACKAGES = (
    "torch",
    "transformers",
    "trl",
    "accelerate",
    "datasets",
    "tokenizers",
    "numpy",
    "pyarrow",
    "lm_eval",
    "mlflow",
    "dvc",
)


def environment() -> dict[str, Any]:
    """What the numbers may depend on besides code, data and parameters."""
    versions = {}
    for package in PACKAGES:
        try:
            versions[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    return {
        "python": platform.python_version(),
        "implementation": sys.implementation.name,
        "platform": platform.platform(),
        "machine": platform.machine(),
        "cpus": os.cpu_count(),
        "packages": versions,
    }


def git_state(root: Path) -> dict[str, Any]:
    """The commit checked out in the workspace (None before the first one) and whether the tree differs from it.

    What the stages themselves write beside their outputs makes no tree dirty.
    """
    written = [f":(exclude){path}" for path in ("dvc.lock", "receipts", "metrics")]
    return {
        "commit": git(root, "rev-parse", "HEAD"),
        "dirty": bool(git(root, "status", "--porcelain", "--", ".", *written)),
    }


@dataclass(frozen=True)
class Surroundings:
    """What a stage runs in.

    Attributes:
        git: commit and whether the tree differs from it.
        environment: versions and machine.
        prefect: ids of the flow run and the task run and the name of the flow run, where there are any.
        processes: how many processes do the work.
    """

    git: Mapping[str, Any]
    environment: Mapping[str, Any]
    prefect: Mapping[str, str | None]
    processes: int

    @classmethod
    def of(cls, job: Job) -> Surroundings:
        names = {
            "flow_run_id": "STEMMA_PREFECT_FLOW_RUN_ID",
            "flow_run_name": "STEMMA_PREFECT_FLOW_RUN_NAME",
            "task_run_id": "STEMMA_PREFECT_TASK_RUN_ID",
        }
        prefect = {name: os.environ.get(variable) for name, variable in names.items()}
        return cls(git_state(job.root), environment(), prefect, job.component.processes(job.parameters))


def described_inputs(job: Job) -> list[dict[str, Any]]:
    """The inputs with the digests that they had when the stage read them."""
    return [
        {"name": a.name, "path": a.path, "type": a.type, "role": a.role, "digest": digest, "size": size}
        for a, digest, size in job.inputs
    ]


def receipt(
    job: Job,
    surroundings: Surroundings,
    outcome: Mapping[str, Any],
    attempts: Sequence[Mapping[str, Any]],
    cursor: Mapping[str, Any],
    made: Mapping[str, tuple[str, int]],
) -> dict[str, Any]:
    """The receipt of an execution.

    Args:
        outcome: what the worker left.
        made: digest and size in bytes of the outputs, by name; empty for an execution that made none.
        attempts: start and end of each, in seconds since the epoch.
        cursor: of the spool; it names the MLflow runs.
    """
    return {
        "schema": SCHEMA,
        "stage": job.stage,
        "component": {"name": job.component.name, "version": job.component.version, "code_digest": job.code},
        "fingerprint": job.fingerprint,
        "run": job.run,
        "parameters": job.parameters.model_dump(mode="json"),
        "non_default": non_default(job.parameters),
        "seed": job.seed,
        "inputs": described_inputs(job),
        "outputs": [
            {"name": a.name, "path": a.path, "type": a.type, "role": a.role, "registered_model": a.registered_model}
            | dict(zip(("digest", "size"), made.get(a.name, ()), strict=False))
            for a in job.outputs
        ],
        **({"skipped": job.skipped} if job.skipped else {}),
        "metrics": outcome["metrics"],
        "headline": outcome["headline"],
        "warnings": outcome["warnings"],
        "git": surroundings.git,
        "mlflow": {name: cursor[name] for name in ("run_id", "experiment_id", "parent_run_id")},
        "prefect": surroundings.prefect,
        "environment": {**surroundings.environment, **outcome.get("environment", {})},
        "device": outcome["device"],
        "processes": surroundings.processes,
        "tokens": outcome["tokens"],
        "attempts": list(attempts),
        "started": attempts[0]["started"],
        "ended": attempts[-1]["ended"],
        "seconds": sum(attempt["ended"] - attempt["started"] for attempt in attempts),
    }


def is_same_work(earlier: Mapping[str, Any], now: Mapping[str, Any]) -> bool:
    """Whether two receipts are of one piece of work: what it was made of and with, and what it came to, is the same.

    Where nothing was left to do, the later one may lack what only the work itself adds to the environment.
    """
    now = json.loads(json.dumps(now))
    names = ("stage", "fingerprint", "inputs", "outputs", "metrics", "headline", "device", "processes")
    if any(earlier.get(name) != now[name] for name in names):
        return False
    return all(earlier["environment"].get(name) == value for name, value in now["environment"].items())
