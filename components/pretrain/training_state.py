"""The state of a training as checkpoints: saved between steps, and put back exactly."""

from __future__ import annotations

import errno
from dataclasses import asdict
from types import TracebackType

import torch
from accelerate import Accelerator
from accelerate.utils import broadcast_object_list, gather_object
from torch import nn

from components.contract import Context, InputProblem
from components.pretrain import checkpoint, random_state
from components.pretrain.progress import Progress


class TrainingState:
    """Model, optimizer and random states of a training; leaving it as a context manager waits for the disk.

    Every method is called by all processes together.
    """

    def __init__(self, context: Context, accelerator: Accelerator, model: nn.Module, optimizer: torch.optim.Optimizer):
        self._context, self._accelerator, self._model, self._optimizer = context, accelerator, model, optimizer

    def __enter__(self) -> TrainingState:
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        pass

    def resume(self) -> Progress:
        """Put model, optimizer and random states to the newest whole checkpoint; where the training stands.

        Only the main process reads it, so that the processes need no disk in common.

        Raises:
            InputProblem: the checkpoint belongs to another number of processes.
        """
        context, processes = self._context, self._accelerator.num_processes
        found = [None]
        if self._accelerator.is_main_process:
            found = [checkpoint.newest(context.scratch / "checkpoints", context.warn)]
        state = broadcast_object_list(found)[0]
        if state is None:
            return Progress()
        if state["processes"] != processes:
            # Sums of gradients are rounded in another order with another number of processes: never silently.
            raise InputProblem(
                f"the checkpoint in {context.scratch} was made by {state['processes']} processes and there are "
                f"{processes} now, so that the result could not be exact: run with "
                f"pretrain.processes={state['processes']}, or delete that folder to begin again"
            )
        if state["threads"] != torch.get_num_threads():
            context.warn(
                f"the checkpoint was made with {state['threads']} threads a process and there are "
                f"{torch.get_num_threads()} now: the last bits of the result may differ"
            )
        self._model.load_state_dict(state["model"])
        self._optimizer.load_state_dict(state["optimizer"])
        random_state.restore(state["random"][self._accelerator.process_index])
        return Progress(**state["progress"])

    def save(self, progress: Progress) -> None:
        """Keep the state after ``progress.step`` steps as a checkpoint."""
        states = gather_object([random_state.capture()])
        if not self._accelerator.is_main_process:
            return
        state = {
            "processes": self._accelerator.num_processes,
            "threads": torch.get_num_threads(),
            "model": self._model.state_dict(),
            "optimizer": self._optimizer.state_dict(),
            "random": states,
            "progress": asdict(progress),
        }
        try:
            checkpoint.save(self._context.scratch / "checkpoints", progress.step, state)
        except OSError as error:
            if error.errno not in (errno.ENOSPC, errno.EDQUOT):
                raise
            self._context.warn(f"no disk space for the checkpoint of step {progress.step}; the one before it stays")

    def wait(self) -> None:
        """Until the last checkpoint that was handed over lies on the disk."""
