"""Registers the work pool, its deployments and their guards: ``python -m deploy.k8s.register JOB_TEMPLATE``.

At the server that ``PREFECT_API_URL`` names, from the workspace in the current folder. ``STEMMA_JOB_GPUS`` and
``STEMMA_JOB_IMAGE`` are the defaults of a flow run's pod. Run again, it changes what has changed.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from core import python

POOL = "stemma"


def main(arguments: list[str]) -> int:
    """Exit code 0 when the pool and every deployment of ``prefect.yaml`` are registered."""
    if len(arguments) != 1:
        print("usage: python -m deploy.k8s.register JOB_TEMPLATE", file=sys.stderr)
        return 2
    template = job_template(Path(arguments[0]), os.environ.get("STEMMA_JOB_GPUS"), os.environ.get("STEMMA_JOB_IMAGE"))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "job-template.json")
        path.write_text(json.dumps(template))
        create = ("work-pool", "create", POOL, "--type", "kubernetes", "--overwrite")
        made = _run("prefect", "--no-prompt", *create, "--base-job-template", str(path))
    return made or _run("prefect", "--no-prompt", "deploy", "--all") or _run("flows.deployments.guards")


def job_template(path: Path, gpus: str | None, image: str | None) -> dict[str, Any]:
    """The pool's base job template, with these defaults for the number of GPUs and the image."""
    template: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    variables = template["variables"]["properties"]
    if gpus:
        variables["gpus"]["default"] = int(gpus)
    if image:
        variables["image"]["default"] = image
    return template


def _run(module: str, *arguments: str) -> int:
    return subprocess.run(python.command(module, *arguments), check=False).returncode


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
