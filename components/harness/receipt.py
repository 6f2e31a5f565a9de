"""The receipt of a stage: who really made its outputs, from what, with which result.

It is declared under ``metrics:`` with ``cache: false``, so a stage restored from DVC's run-cache brings back the
receipt of the execution that made its bytes.
"""

from __future__ import annotations

import os
import platform
import sys
from importlib import metadata
from pathlib import Path
from typing import Any

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
