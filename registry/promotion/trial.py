"""Trying a model as serving would, in a process of its own: it may crash, hang or use up the memory, the gate may not.

Only those processes load a model library (``sanity``). They are forked from one that has loaded it already, since
loading takes longer than everything else and a run tries four models.
"""

from __future__ import annotations

import multiprocessing
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path

from core import adapted
from core.python import isolated_children

LIBRARY = "registry.promotion.trial_libraries"  # what the processes are forked with
TIMEOUT_SECONDS = 600.0


@dataclass(frozen=True)
class Trial:
    """The checks that passed as (name, detail), and what failed, if anything did."""

    passed: list[tuple[str, str]]
    fault: str | None = None


def try_model(files: Path, timeout: float = TIMEOUT_SECONDS) -> Trial:
    """Load the model in ``files`` and let it generate or score."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([LIBRARY])
    receiver, sender = context.Pipe(duplex=False)
    process = context.Process(target=_try, args=(str(files), sender), daemon=True)
    with isolated_children():  # the process that is forked has an import path of its own
        process.start()
    sender.close()
    try:
        if not receiver.poll(timeout):
            return Trial([], f"it did not load and answer within {timeout:g} s")
        trial: Trial = receiver.recv()
        return trial
    except EOFError:
        process.join()
        return Trial([], f"the process that loaded it died (exit code {process.exitcode})")
    finally:
        process.kill()
        process.join()
        receiver.close()


def _try(files: str, sender: Connection) -> None:
    try:
        adapted.spare_bitsandbytes(Path(files))
        from registry.promotion.sanity import examine

        trial = Trial(examine(Path(files)))
    except Exception as error:
        line = (str(error).strip().splitlines() or [""])[0]
        fault = line if type(error).__name__ == "NotSane" else f"{type(error).__name__}: {line}"
        trial = Trial([], fault[:400])
    sender.send(trial)
