"""``python -m flows.deployments``: registers the deployments at ``PREFECT_API_URL``, runs their runs until SIGTERM."""

from __future__ import annotations

import asyncio
import os
import sys

from core import python
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
    python.isolate(os.environ)  # the runs' processes, which Prefect starts in the workspace
    quiet_mlflow()
    quiet_prefect(workspace.home / "prefect", None)

    from flows.deployments.serving import serve

    try:
        asyncio.run(serve(workspace.root))
    except InputProblem as problem:
        print("\n".join(["params.yaml has mistakes, so nothing is served:", *problem.problems]), file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
