"""``python -m flows.deployments``: registers the deployments at ``PREFECT_API_URL``, runs their runs until SIGTERM."""

from __future__ import annotations

import asyncio
import os
import sys
from pathlib import Path

from core.environment import quiet_mlflow, quiet_prefect
from core.errors import InputProblem
from core.workspace import Workspace


def main() -> int:
    """Exit code 2 without a server to register at."""
    if not os.environ.get("PREFECT_API_URL"):
        print("PREFECT_API_URL is not set: start a server (`stemma up`) and name it there", file=sys.stderr)
        return 2
    workspace = Workspace.find()
    os.chdir(workspace.root)
    _import_from(workspace.root)
    quiet_mlflow()
    quiet_prefect(workspace.home / "prefect", None)

    from flows.deployments.serving import serve

    try:
        asyncio.run(serve(workspace.root))
    except InputProblem as problem:
        print("\n".join(["params.yaml has mistakes, so nothing is served:", *problem.problems]), file=sys.stderr)
        return 2
    return 0


def _import_from(root: Path) -> None:
    """The runs' processes import the flows of this workspace, as this one does."""
    paths = [str(root), *filter(None, os.environ.get("PYTHONPATH", "").split(os.pathsep))]
    os.environ["PYTHONPATH"] = os.pathsep.join(dict.fromkeys(paths))


if __name__ == "__main__":
    sys.exit(main())
