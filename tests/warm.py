"""The command in processes forked from one that has imported what it needs: most verbs take longer to import than work.

Only what is imported is shared, so such a process is as new as one that was started. Tests that kill or signal the
command, or look at its processes, start it as users do.
"""

from __future__ import annotations

import atexit
import gc
import importlib
import json
import multiprocessing
import os
import subprocess
import sys
import tempfile
import threading
from collections.abc import Mapping
from multiprocessing import forkserver
from pathlib import Path
from types import SimpleNamespace

from components.harness import libraries
from core import dvc
from core.python import isolated_children
from registry.promotion import trial
from tests import warm_python

ROOT = Path(__file__).resolve().parents[1]
LIBRARIES = ("cli.main", "registry.lineage.sync", "registry.promotion.promote", "mlflow",
             "mlflow.store.tracking.sqlalchemy_store", "alembic.command", "rich.panel", "configobj")  # fmt: skip
JUDGING = ("run", "promote", "retrain")  # verbs that may put a model before the gate
FOR_JUDGING = ("model_signing.signing", "model_signing.verifying", "matplotlib.figure", "components.comparison",
               "matplotlib.backends.backend_agg", "detect_secrets.core.scan")  # fmt: skip
WITH_PREFECT = ("flows.run", "flows.lifecycle", "flows.retrain", "prefect.task_engine", "prefect.flow_engine",
                "cli.screens.live", "cli.screens.last", "graphviz")  # fmt: skip
_started: dict[str | None, subprocess.Popen[str]] = {}


def stemma(*arguments: str, cwd: Path, environment: Mapping[str, str]) -> subprocess.CompletedProcess[str]:
    """Run the command to its end; it has its working directory, variables and output as one started anew would."""
    # Prefect reads its settings when it is imported.
    api = environment.get("PREFECT_API_URL")
    if api not in _started:
        _started[api] = _start(environment)
    server = _started[api]
    with tempfile.TemporaryDirectory() as folder:
        out, err = Path(folder, "out"), Path(folder, "err")
        order = {"arguments": arguments, "cwd": str(cwd), "environment": dict(environment)}
        server.stdin.write(json.dumps({**order, "out": str(out), "err": str(err)}) + "\n")
        server.stdin.flush()
        try:
            code = int(server.stdout.readline())
        except BaseException:  # a time limit: its answer would be taken for that of the next command
            _started.pop(api).kill()
            raise
        return subprocess.CompletedProcess(["stemma", *arguments], code, out.read_text(), err.read_text())


def _start(environment: Mapping[str, str]) -> subprocess.Popen[str]:
    folder = tempfile.TemporaryDirectory()  # Prefect's own, where the command would use the workspace's
    atexit.register(folder.cleanup)
    path = [str(ROOT), *filter(None, environment.get("PYTHONPATH", "").split(os.pathsep))]
    server = subprocess.Popen(
        [sys.executable, "-m", "tests.warm"],
        cwd=ROOT, env={**environment, "PYTHONPATH": os.pathsep.join(path), "PREFECT_HOME": folder.name},
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, start_new_session=True,
    )  # fmt: skip
    atexit.register(server.stdin.close)
    return server


def serve() -> None:
    """Fork a command for each order that is read, one after the other; answer with its exit code."""
    from core.environment import quiet_mlflow, quiet_prefect

    api = os.environ.get("PREFECT_API_URL")
    quiet_mlflow()
    if api:
        quiet_prefect(Path(os.environ["PREFECT_HOME"]), api)
    for name in (*LIBRARIES, *(WITH_PREFECT if api else ())):
        importlib.import_module(name)
    assert threading.active_count() == 1, "a fork would lose a thread"
    gc.freeze()
    warm_python.server()  # here, that all commands have the same one
    answers = os.fdopen(os.dup(1), "w")
    shared = False
    for line in sys.stdin:
        order = json.loads(line)
        if not shared and order["arguments"][0] in JUDGING:
            _share_trials()
            for name in FOR_JUDGING:
                importlib.import_module(name)
            gc.freeze()
            shared = True
        child = os.fork()
        if child == 0:
            answers.close()
            _run(order, shared)
        _, status = os.waitpid(child, 0)
        print(os.waitstatus_to_exitcode(status), file=answers, flush=True)


def _share_trials() -> None:
    """Start the process that those which try models are forked from: to load its library takes longer than a run."""
    output = os.dup(1)
    os.dup2(2, 1)  # what it prints is no answer
    try:
        multiprocessing.get_context("forkserver").set_forkserver_preload([trial.LIBRARY])
        with isolated_children():
            forkserver.ensure_running()
    finally:
        os.dup2(output, 1)
        os.close(output)


def _run(order: dict, shared: bool) -> None:
    if shared:
        forkserver._forkserver.ensure_running = lambda: None  # it runs, and is no child of this process
    dvc.subprocess = SimpleNamespace(run=warm_python.run_line)
    libraries.prefork = lambda stages: warm_python.Shared()
    os.setsid()
    for number, name in enumerate((os.devnull, order["out"], order["err"])):
        opened = os.open(name, os.O_RDWR | os.O_CREAT)
        os.dup2(opened, number)
        os.close(opened)
    os.chdir(order["cwd"])
    os.environ.clear()
    os.environ.update(order["environment"])
    sys.path[0] = order["cwd"]
    sys.argv = ["stemma", *order["arguments"]]
    sys.modules["__main__"].__package__ = None  # its name in messages is that of argv
    from cli import main

    main()
    sys.exit()


if __name__ == "__main__":
    serve()
