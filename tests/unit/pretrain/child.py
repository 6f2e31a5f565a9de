"""Runs the pretrain stage in this process as the harness's worker would: SIGTERM sets ``context.stopping``.

Usage: child.py WORKSPACE PARAMETERS-AS-JSON. Exit codes: 0 done, 3 interrupted, 2 input problem.
"""

from __future__ import annotations

import json
import signal
import sys
from pathlib import Path

import components
from components.contract import Context, Interrupted
from components.harness import launch
from core.errors import InputProblem


def main() -> int:
    workspace, parameters = Path(sys.argv[1]), json.loads(sys.argv[2])
    elastic = parameters.pop("elastic", False)  # whether another number of processes may go on from a checkpoint
    component = components.load("pretrain")
    outputs = {artifact.name: workspace / artifact.path for artifact in component.outputs}
    scratch = workspace / "scratch" / component.name
    for folder in (*outputs.values(), scratch):
        folder.mkdir(parents=True, exist_ok=True)
    context = Context(
        parameters=component.parameters(**parameters),
        seed=1337,
        inputs={artifact.name: workspace / artifact.path for artifact in component.inputs},
        outputs=outputs,
        scratch=scratch,
        events=workspace / "pretrain.events.jsonl",
        elastic=elastic,
    )

    def stop(*_: object) -> None:
        context.stopping = True

    signal.signal(signal.SIGTERM, stop)
    try:
        component.run(context)
    except Interrupted:
        return 3
    except InputProblem as problem:
        print(problem)
        return 2
    launch.leave_group()
    return 0


if __name__ == "__main__":
    sys.exit(main())
