"""The state of a training as checkpoints: copied between steps, written beside the next ones, and put back exactly.

A checkpoint is a folder of four files, none of them pickled:

``model.safetensors`` and ``config.json``
    the weights, as transformers' ``from_pretrained`` reads them.
``optimizer.safetensors``
    the optimizer's tensors by the names of their parameters (``components/pretrain/optimizer_state.py``).
``training.json``
    everything else: the progress and with it the position in the data, the optimizer's settings with the rates of the
    schedule, the random states of every process, how many processes and threads computed, and the MLflow run.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import random
import re
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
import torch
import torch.distributed
from accelerate import Accelerator
from accelerate.utils import broadcast_object_list, gather_object
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor
from transformers import PreTrainedModel

from components.contract import Context
from components.pretrain import checkpoint, optimizer_state, zero3
from components.pretrain.host_copies import HostCopies, placed_as
from components.pretrain.parameters import PretrainParameters
from core.errors import InputProblem

MODEL, OPTIMIZER, TRAINING, CONFIG = "model.safetensors", "optimizer.safetensors", "training.json", "config.json"
NO_SPACE = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
Shapes = Mapping[str, tuple[torch.dtype, tuple[int, ...]]]
PATIENCE = 1.0  # seconds for which a step may wait for the disk before the user is warned


@dataclass
class LoopState:
    """What the loop has seen so far; part of every checkpoint, and all of it repeatable.

    Attributes:
        step: optimizer steps done; with the seed it fixes the position in the data.
        curve: points of the training curve.
        validation: validation losses within the training.
        samples: what the model wrote at each validation.
        loss_sum: sum of losses since the last point of the curve.
        processes: how many compute: each number with the step after which it began.
    """

    step: int = 0
    curve: list[dict[str, float]] = field(default_factory=list)
    validation: list[dict[str, float]] = field(default_factory=list)
    samples: list[dict[str, str | int]] = field(default_factory=list)
    loss_sum: float = 0.0
    processes: list[list[int]] = field(default_factory=list)

    def computed_by(self, processes: int) -> None:
        """Note how many processes compute the steps from here on."""
        if not self.processes or self.processes[-1][1] != processes:
            self.processes.append([self.step, processes])

    def said_processes(self) -> str:
        """How many processes have computed which steps: ``2``, or ``2, from step 41 on 1``."""
        first, *others = self.processes
        return ", ".join([str(first[1]), *(f"from step {step + 1} on {number}" for step, number in others)])


class TrainingState:
    """Model, optimizer and random states of a training, and the one thread that writes them to the disk.

    Every method is called by all processes together; the main one writes and reads. As a context manager it waits at
    its end for the checkpoint that is still being written.

    Args:
        model: the model itself, not what accelerate or the compiler wrapped around it.
        optimizer: likewise.
    """

    def __init__(
        self, context: Context, accelerator: Accelerator, model: PreTrainedModel, optimizer: torch.optim.Optimizer
    ):
        self._context, self._accelerator, self._model, self._optimizer = context, accelerator, model, optimizer
        self._folder = context.scratch / "checkpoints"
        self._copies = HostCopies(optimizer, holds=accelerator.is_main_process)
        self._writer = ThreadPoolExecutor(max_workers=1, thread_name_prefix="checkpoint")
        self._pending: tuple[int, Future[None]] | None = None

    def __enter__(self) -> TrainingState:
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        try:
            self.wait()
        finally:
            self._writer.shutdown()

    def resume(self) -> LoopState:
        """Put model, optimizer and random states to the newest whole checkpoint; where the training stands.

        Only the main process reads it, so that the processes need no disk in common; the tensors go to the others one
        by one. Call it once the model and the optimizer are where they train.

        Raises:
            InputProblem: the checkpoint belongs to another number of processes, and no other may go on from it.
        """
        found: list[Any] = [None]
        path = None
        if self._accelerator.is_main_process:
            path = checkpoint.newest(self._folder, self._context.warn)
            if path is not None:
                shapes = {name: _shapes(path / name) for name in (MODEL, OPTIMIZER)}
                found = [(json.loads((path / TRAINING).read_text()), shapes)]
        found = broadcast_object_list(found)
        if found[0] is None:
            return LoopState()
        training, shapes = found[0]
        progress = LoopState(**training["progress"])
        self._refuse_or_warn(training, progress)

        weights = _weights(self._model)
        if weights.keys() != shapes[MODEL].keys():
            raise ValueError(f"the checkpoint holds other weights: {sorted(weights.keys() ^ shapes[MODEL].keys())}")
        with torch.no_grad():
            for name, tensor in self._read(path, MODEL, shapes[MODEL]):
                weights[name].copy_(placed_as(weights[name], tensor))
        moments = self._read(path, OPTIMIZER, shapes[OPTIMIZER])
        optimizer_state.restore(self._model, self._optimizer, training["optimizer"], moments)
        # A process beyond those that were saved keeps the state of its seed; where the number may change, none draws.
        if self._accelerator.process_index < len(training["random"]):
            restore_random_state(training["random"][self._accelerator.process_index])
        return progress

    def save(self, progress: LoopState) -> None:
        """Hand the state after ``progress.step`` steps over to be written as a checkpoint.

        Returns as soon as it is copied. If the last one is still being written, that is waited for first.

        Raises:
            OSError: the last checkpoint could not be written, for another reason than a full disk, of which it warns.
        """
        started = time.monotonic()
        self.wait()
        waited = time.monotonic() - started
        if waited > PATIENCE:
            self._context.warn(
                f"step {progress.step} waited {waited:.1f} s for the checkpoint before it to be written: raise "
                f"pretrain.checkpoint_every, or point STEMMA_HOME at a faster disk"
            )
        random_states = gather_object([capture_random_state()])
        weights = {f"{MODEL}/{name}": tensor for name, tensor in _weights(self._model).items()}
        moments = optimizer_state.tensors(self._model, self._optimizer)
        self._copies.take(weights | {f"{OPTIMIZER}/{name}": tensor for name, tensor in moments.items()})
        if not self._accelerator.is_main_process:
            return
        training = {
            "threads": torch.get_num_threads(),
            "mlflow_run": _mlflow_run(self._context.scratch),
            # Points are only ever added to the lists, so that shallow copies stay as they are.
            "progress": {
                name: list(value) if isinstance(value, list) else value for name, value in vars(progress).items()
            },
            "optimizer": optimizer_state.values(self._model, self._optimizer),
            "random": random_states,
        }
        self._pending = progress.step, self._writer.submit(self._write, progress.step, training)
        self._context.log({"checkpoint_blocking_seconds": time.monotonic() - started}, progress.step)

    def wait(self) -> None:
        """Until the last checkpoint that was handed over lies on the disk.

        Raises:
            OSError: it could not be written, for another reason than a full disk, of which it warns.
        """
        if self._pending is None:
            return
        (step, written), self._pending = self._pending, None
        try:
            written.result()
        except OSError as error:
            if error.errno not in NO_SPACE:
                raise
            self._context.warn(f"no disk space for the checkpoint of step {step}; the one before it stays")

    def check(self) -> None:
        """As :meth:`wait`, without waiting: raises what the writing has failed with by now."""
        if self._pending is not None and self._pending[1].done():
            self.wait()

    def _write(self, step: int, training: dict[str, Any]) -> None:
        copies = self._copies.ready()

        def write(folder: Path) -> None:
            for file in (MODEL, OPTIMIZER):
                prefix = f"{file}/"
                part = {name.removeprefix(prefix): t for name, t in copies.items() if name.startswith(prefix)}
                _save_tensors(part, folder / file)
            (folder / TRAINING).write_text(json.dumps(training) + "\n", encoding="utf-8")
            self._model.config.to_json_file(folder / CONFIG)

        checkpoint.publish(self._folder, step, write)
        parameters: PretrainParameters = self._context.parameters
        losses = {int(point["step"]): point["loss"] for point in training["progress"]["validation"]}
        checkpoint.prune(self._folder, losses, keep_last=parameters.keep_last, keep_best=parameters.keep_best)

    def _refuse_or_warn(self, training: Mapping[str, Any], progress: LoopState) -> None:
        made_by, processes = progress.processes[-1][1], self._accelerator.num_processes
        # Sums of gradients are rounded in another order with another number of processes: never silently.
        if made_by != processes and not self._context.elastic:
            raise InputProblem(
                f"the checkpoint in {self._context.scratch} was made by {made_by} processes and there are {processes} "
                f"now, so that the result could not be exact: run with as many devices x nodes as then, or delete that "
                f"folder to begin again"
            )
        if made_by != processes:
            self._context.warn(
                f"the checkpoint of step {progress.step} was made by {made_by} processes and {processes} go on from "
                f"it: the result differs by rounding from that of one number"
            )
        if training["threads"] != torch.get_num_threads():
            self._context.warn(
                f"the checkpoint was made with {training['threads']} threads a process and there are "
                f"{torch.get_num_threads()} now: the last bits of the result may differ"
            )

    def _read(self, path: Path | None, file: str, shapes: Shapes) -> Iterator[tuple[str, Tensor]]:
        """Every tensor of a file on this process's device, one after the other; the main process has the file."""
        device = self._accelerator.device
        with contextlib.ExitStack() as stack:
            reader = stack.enter_context(safe_open(path / file, framework="pt")) if path is not None else None
            for name, (dtype, shape) in shapes.items():
                if reader is not None:
                    # A copy: what the reader gives is a view of the mapped file.
                    tensor = reader.get_tensor(name).to(device, copy=True)
                else:
                    tensor = torch.empty(shape, dtype=dtype, device=device)
                if self._accelerator.num_processes > 1:
                    torch.distributed.broadcast(tensor, 0)
                yield name, tensor


def _weights(model: PreTrainedModel) -> dict[str, Tensor | zero3.Part]:
    """Parameters and buffers by name, a tied one under its first name only."""
    first: dict[int, str] = {}
    named = model.state_dict(keep_vars=True)
    for name, tensor in named.items():
        first.setdefault(id(tensor), name)
    return {name: zero3.part(named[name]) for name in first.values()}


def _save_tensors(tensors: dict[str, Tensor], path: Path) -> None:
    try:
        save_file(tensors, path, metadata={"format": "pt"})
    except SafetensorError as error:
        # The library reports a full disk in the text of an error of its own.
        number = re.search(r"\(os error (\d+)\)", str(error))
        if number is None:
            raise
        raise OSError(int(number[1]), os.strerror(int(number[1])), str(path)) from error


def _shapes(path: Path) -> Shapes:
    with safe_open(path, framework="pt") as reader:
        tensors = {name: reader.get_tensor(name) for name in reader.keys()}
        return {name: (tensor.dtype, tuple(tensor.shape)) for name, tensor in tensors.items()}


def _mlflow_run(scratch: Path) -> str | None:
    """The run that the harness opened for this work, once it has."""
    try:
        return json.loads((scratch / "tracking" / "cursor.json").read_text())["run_id"]
    except (OSError, ValueError, KeyError):
        return None


def capture_random_state() -> dict[str, Any]:
    """States of Python's, NumPy's and torch's generators, torch's as hexadecimal digits; of GPUs the current one's."""
    version, internal, gauss = random.getstate()
    name, keys, position, has_gauss, cached = np.random.get_state(legacy=True)
    return {
        "python": [version, list(internal), gauss],
        "numpy": [name, keys.tolist(), position, has_gauss, cached],
        "torch": _digits(torch.get_rng_state()),
        "cuda": _digits(torch.cuda.get_rng_state()) if torch.cuda.is_available() else None,
    }


def restore_random_state(state: dict[str, Any]) -> None:
    """Put the generators back where :func:`capture_random_state` found them."""
    version, internal, gauss = state["python"]
    random.setstate((version, tuple(internal), gauss))
    name, keys, position, has_gauss, cached = state["numpy"]
    np.random.set_state((name, np.array(keys, dtype=np.uint32), position, has_gauss, cached))
    torch.set_rng_state(_bytes(state["torch"]))
    if state["cuda"] is not None and torch.cuda.is_available():
        torch.cuda.set_rng_state(_bytes(state["cuda"]))


def _digits(state: torch.Tensor) -> str:
    return state.numpy().tobytes().hex()


def _bytes(digits: str) -> torch.Tensor:
    return torch.frombuffer(bytearray.fromhex(digits), dtype=torch.uint8)
