"""The process that does a component's work: `python -m components.harness.worker ORDER.json`.

Where a component needs several processes this module becomes their launcher.
"""

from __future__ import annotations

import errno
import os
import shutil
import signal
import sys
import time
import traceback
from dataclasses import asdict
from pathlib import Path
from typing import Any

import components
from components.contract import Context, Interrupted
from components.harness import launch, libraries
from components.harness.outcomes import COMPLETE, EXIT_CODES, FAILED, INTERRUPTED, OF_A_RANK, PROBLEMS
from core import python
from core.errors import InputProblem
from core.files import read_json, write_json
from core.processes import follow_parent, notice_seconds


def main() -> int:
    order_path = Path(sys.argv[1])
    order = read_json(order_path, None)
    python.seldom_collect()
    python.hide(*libraries.unused(order["parameters"], order["inputs"]))
    launched = "RANK" in os.environ
    nodes = order["nodes"]
    starter = os.environ.get(launch.LAUNCHER) or order["supervisor"]
    if starter and (launched or os.environ.get(launch.NODE_RANK, "0") == "0"):
        # On the other machines, what starts this module there also ends it: Slurm, Kubernetes, a shell.
        follow_parent(int(starter))
    component = components.load(order["component"])
    if order.get("compute") and not component.spreads:
        return _drive(order)
    if order["processes"] > 1 and not launched and ((local := _possible(order["processes"] // nodes)) > 1 or nodes > 1):
        return _launch(order, order_path, local, nodes)
    context = _context(order)
    _watch_signals(context, component.resumable)
    if order.get("compute") or order.get("copies"):
        state, problems = _with_copies(order, context)
    else:
        state, problems = _run(order, context)
    if launched and state == COMPLETE:
        launch.leave_group()
    if context.is_main:
        _report(order, context, state, problems)
    elif state in (PROBLEMS, FAILED):
        # The main process may never learn of it: it waits for this one, and is ended with it.
        write_json(Path(order["outcome"]).with_name(OF_A_RANK), {"state": state, "problems": problems})
    return EXIT_CODES[state]


def _drive(order: dict[str, Any]) -> int:
    """Have the nodes of a cluster do the work, and leave what they made of it."""
    if order["compute"]["kind"] == "ray":
        from components.compute.driver import run
    else:
        from components.compute.kubernetes import run
    try:
        outcome = run(order, grace_seconds())
    except InputProblem as problem:
        outcome = {"state": PROBLEMS, "problems": problem.problems}
    write_json(Path(order["outcome"]), outcome)
    return EXIT_CODES[outcome["state"]]


def _context(order: dict[str, Any]) -> Context:
    component = components.load(order["component"])
    return Context(
        parameters=component.parameters.model_validate(order["parameters"]),
        seed=order["seed"],
        inputs={name: Path(path) for name, path in order["inputs"].items()},
        outputs={name: Path(path) for name, path in order["outputs"].items()},
        scratch=Path(order["scratch"]),
        instance=order["instance"],
        cache=Path(order["cache"]),
        events=Path(order["events"]),
        elastic=order.get("elastic", False),
    )


def grace_seconds() -> int:
    """From SIGTERM to the end, checkpoint included: a third of the notice; the rest is for what follows it."""
    return int(notice_seconds() / 3)


def _watch_signals(context: Context, resumable: bool) -> None:
    """SIGTERM and SIGINT mean: save a checkpoint and end. A component without checkpoints has nothing to save."""

    def stop(*_: object) -> None:
        context.stopping = True
        # The default action of SIGALRM ends even a process that sits in native code.
        signal.alarm(grace_seconds() if resumable else 1)

    signal.signal(signal.SIGTERM, stop)
    signal.signal(signal.SIGINT, stop)


def _run(order: dict[str, Any], context: Context) -> tuple[str, list[str]]:
    try:
        components.load(order["component"]).run(context)
    except InputProblem as problem:
        return PROBLEMS, problem.problems
    except Interrupted:
        return INTERRUPTED, []
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            return PROBLEMS, [_no_space(order, error)]
        traceback.print_exc()
        return FAILED, [f"{type(error).__name__}: {error}"]
    except Exception as error:
        traceback.print_exc()
        return FAILED, [f"{type(error).__name__}: {error}"]
    return COMPLETE, []


def _with_copies(order: dict[str, Any], context: Context) -> tuple[str, list[str]]:
    """As :func:`_run`, with copies of the stage's model on the nodes of a cluster."""
    from components.compute.parameters import Compute
    from components.compute.replicas import Replicas

    alone = bool(order.get("compute"))  # the stage runs where it was started, not on a node itself
    replicas = Replicas(Compute(**(order["compute"] if alone else order["copies"])), order["component"])
    if alone:
        context.spread = replicas.run
    else:
        context.help, context.dismiss = replicas.help, replicas.close
    try:
        return _run(order, context)
    finally:
        replicas.close()
        if alone:
            context.environment["compute"] = f"ray, {', '.join(sorted(replicas.hosts))}"
        else:
            context.environment["copies"] = replicas.said()


def _no_space(order: dict[str, Any], error: OSError) -> str:
    where = error.filename or order["scratch"]
    folders = {str(Path(order["scratch"])), *(str(Path(path).parent) for path in order["outputs"].values())}
    free = ", ".join(f"{folder}: {shutil.disk_usage(folder).free / 1e6:,.0f} MB free" for folder in sorted(folders))
    # What was written of the outputs is of no use; without it there is room to say what happened.
    for staged in order["outputs"].values():
        shutil.rmtree(staged, ignore_errors=True)
    return f"no space left on device while writing {where} ({free}); free some, or point STEMMA_HOME at a larger disk"


def _report(order: dict[str, Any], context: Context, state: str, problems: list[str]) -> None:
    write_json(
        Path(order["outcome"]),
        {
            "state": state,
            "problems": problems,
            "metrics": [asdict(metric) for metric in context.metrics],
            "headline": context.headline,
            "warnings": context.warnings,
            "tokens": context.tokens,
            "device": context.device,
            "environment": context.environment,
            "ended": time.time(),
        },
    )


def _possible(processes: int) -> int:
    """As many processes as wanted, but no more than there are accelerators, where there are any: each drives one."""
    import torch

    return min(processes, torch.cuda.device_count()) if torch.cuda.is_available() else processes


def _launch(order: dict[str, Any], order_path: Path, local: int, nodes: int) -> int:
    """Become the launcher of ``local`` ranks of this module."""
    parameters = order["parameters"]
    # The first machine's harness has checked this already; the others begin here.
    asked = {**parameters, "nodes": nodes}
    if found := launch.problems(order["component"], asked, order["processes"], os.environ):
        print("\n".join(found), file=sys.stderr)
        return EXIT_CODES[PROBLEMS]
    program = ["-m", "components.harness.worker", str(order_path)]
    launch.start(program, parameters.get("sharding", "ddp"), local=local, nodes=nodes)
    return 0


if __name__ == "__main__":
    sys.exit(main())
