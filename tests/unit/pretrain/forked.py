"""The stage in processes of its own, forked from a server that has imported it: imports are most of a tiny run.

Only what is imported is shared, so such a process is as new as one that was started.
"""

from __future__ import annotations

import functools
import importlib
import multiprocessing
import os
import socket
import subprocess
import sys
import tempfile
from collections.abc import Collection, Mapping, Sequence
from multiprocessing import forkserver
from pathlib import Path
from unittest import mock

ROOT = Path(__file__).resolve().parents[3]
# The server imports torch, which reads them then.
ENVIRONMENT = {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}

PRELOADED = ("components.pretrain.stage", "tests.unit.pretrain.child", "tests.unit.pretrain.sharded_child",
             "transformers.models.llama.modeling_llama", "deepspeed.runtime.zero.muon.muon_optimizer",
             "matplotlib.pyplot", "tests.frozen")  # fmt: skip
FINETUNING = ("tests.unit.finetuning.hidden", "components.instruct_finetune.stage", "components.preference_tune.stage",
              "components.reward_model.stage", "tests.unit.finetuning.sharded_child", "trl.trainer.sft_trainer",
              "trl.trainer.dpo_trainer", "trl.trainer.reward_trainer", "trl.experimental.orpo", "peft",
              "transformers.models.llama.modeling_llama", "matplotlib.pyplot", "tests.frozen")  # fmt: skip

_context = multiprocessing.get_context("forkserver")


class Forked:
    """Processes that run ``main()`` of a module together, as torchrun would start them; as much of Popen as is used.

    Args:
        module: whose ``main`` is run.
        arguments: what follows in ``sys.argv``.
        cores: on which they run.
        environment: in addition to this process's.
        preloaded: what the server has imported that they are forked from.
    """

    def __init__(
        self,
        module: str,
        arguments: Sequence[str],
        *,
        processes: int = 1,
        cores: Collection[int] | None = None,
        environment: Mapping[str, str] | None = None,
        preloaded: Sequence[str] = PRELOADED,
    ):
        server = _server(tuple(preloaded))
        handle, name = tempfile.mkstemp(suffix=".log")
        os.close(handle)
        self._log = Path(name)
        self._processes = [
            _context.Process(
                target=_run,
                args=(module, list(arguments), name, cores, {**(environment or {}), **rank}),
                daemon=True,
            )
            for rank in _ranks(processes)
        ]
        with mock.patch.object(forkserver, "connect_to_new_process", server.connect_to_new_process):
            for process in self._processes:
                process.start()

    def poll(self) -> int | None:
        """The exit code of the first that failed, once all have ended."""
        codes = [process.exitcode for process in self._processes]
        return None if None in codes else next((code for code in codes if code), 0)

    @property
    def returncode(self) -> int | None:
        return self.poll()

    def send_signal(self, number: int) -> None:
        for process in self._processes:
            os.kill(process.pid, number)

    def kill(self) -> None:
        for process in self._processes:
            process.kill()

    def communicate(self, timeout: float | None = None) -> tuple[str, None]:
        """Wait for the end of all; what they printed."""
        for process in self._processes:
            process.join(timeout)
            if process.exitcode is None:
                raise subprocess.TimeoutExpired(str(process.pid), timeout)
        return self._log.read_text(), None


@functools.cache
def _server(preloaded: tuple[str, ...]) -> forkserver.ForkServer:
    """One of its own: that of :mod:`multiprocessing` may have been started with something else to import."""
    server = forkserver.ForkServer()
    server.set_forkserver_preload(list(preloaded))
    with mock.patch.dict(os.environ, ENVIRONMENT):
        server.ensure_running()
    return server


def _ranks(processes: int) -> list[dict[str, str]]:
    if processes == 1:
        return [{}]
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        meeting = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(probe.getsockname()[1])}
    sizes = {"WORLD_SIZE": str(processes), "LOCAL_WORLD_SIZE": str(processes)}
    return [{"RANK": str(rank), "LOCAL_RANK": str(rank), **sizes, **meeting} for rank in range(processes)]


def _run(
    module: str, arguments: list[str], log: str, cores: Collection[int] | None, environment: dict[str, str]
) -> None:
    with open(log, "a") as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
    os.environ.update(environment)
    os.chdir(ROOT)
    if cores is not None:
        os.sched_setaffinity(0, cores)
    sys.argv = [module, *arguments]
    sys.exit(importlib.import_module(module).main())
