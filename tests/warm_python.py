"""Python programs in processes that are forked from one that has imported their libraries: imports take the longest.

One such process serves all of this process's tests (see :mod:`core.prefork`). What is about a program's process itself
(its command line, whether it is killed) is tested with one that was started.
"""

from __future__ import annotations

import atexit
import functools
import os
import signal
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML

from components.harness import libraries
from core.environment import child_environment
from core.prefork import Prefork, Program

DVC = ("dvc.cli", "dvc.cli.parser", "dvc.repo", "dvc.lock", "networkx", "pydot", "ruamel.yaml", "scmrepo.git",
       "dvc.compare", "dvc.data_cloud", "psutil")  # fmt: skip
LIBRARIES = (*DVC, "mlflow.store.tracking.sqlalchemy_store", "mlflow", "alembic.command", "typer", "rich.console",
             "rich.table", "pydantic")  # fmt: skip
QUIET = {"MLFLOW_LOGGING_LEVEL": "WARNING", "OPENBLAS_NUM_THREADS": "1"}


def run(
    module: str, arguments: Sequence[str], *, cwd: Path, env: Mapping[str, str], timeout: float | None = None
) -> subprocess.CompletedProcess[str]:
    """`python -m MODULE ARGUMENTS` to its end, with captured output, as :func:`subprocess.run` does it."""
    with tempfile.TemporaryFile("w+") as output, tempfile.TemporaryFile("w+") as errors:
        files = {"output": output.fileno(), "errors": errors.fileno()}
        needed = DVC if module in ("dvc", "core.guarded_dvc") else LIBRARIES
        if "repro" in arguments:
            stages = YAML(typ="safe").load(Path(cwd, "dvc.yaml").read_text())["stages"]
            needed = (*libraries.HARNESS, *libraries.of_stages(stages))
        program = server().program(module, *arguments, cwd=cwd, env=env, libraries=needed, **files)
        try:
            code = program.wait(timeout)
        except subprocess.TimeoutExpired:
            os.kill(program.pid, signal.SIGKILL)
            raise subprocess.TimeoutExpired(module, timeout or 0) from None
        output.seek(0)
        errors.seek(0)
        return subprocess.CompletedProcess([module, *arguments], code, output.read(), errors.read())


def run_line(
    line: Sequence[str], *, cwd: Path, env: Mapping[str, str], **_: object
) -> subprocess.CompletedProcess[str]:
    """A command line that names a module after ``-m``; to stand for :func:`subprocess.run` in :mod:`core.dvc`."""
    module, *arguments = line[line.index("-m") + 1 :]
    return run(module, arguments, cwd=cwd, env=env)


@functools.cache
def server() -> Prefork:
    """The process with the libraries, started once. Processes that are forked from this one may use it, too."""
    environment = child_environment({**libraries.worker_variables(1), **QUIET})
    started = Prefork([], [], environment=environment, without=libraries.SELDOM_USED)
    atexit.register(started.close)
    return started


class Shared:
    """The same process, to stand for the one that a run starts for its stages."""

    def program(self, module: str, *arguments: str, **options: Any) -> Program:
        """As of :class:`core.prefork.Prefork`."""
        needed = (*libraries.HARNESS, *options.pop("libraries", ()))
        return server().program(module, *arguments, libraries=needed, **options)

    def close(self) -> None:
        """It goes on."""
