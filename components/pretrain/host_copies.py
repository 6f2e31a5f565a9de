"""Copies of tensors at one moment of the training, in buffers of the host that every copy uses again."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor
from torch.distributed.tensor import DTensor, distribute_tensor

from components.pretrain import zero3


class HostCopies:
    """Host buffers for a set of named tensors.

    Copies from a GPU go to pinned memory on a stream of their own, beside the next step's forward and backward pass;
    the optimizer's next step, which would change what is copied, waits for them on the device.

    Args:
        optimizer: whose steps change the tensors.
        holds: whether this process keeps the copies; of sharded tensors every process contributes its part anyway.
    """

    def __init__(self, optimizer: torch.optim.Optimizer, *, holds: bool):
        self._holds = holds
        self._buffers: dict[str, Tensor] = {}
        self._stream: torch.cuda.Stream | None = None
        self._copied: torch.cuda.Event | None = None
        if torch.cuda.is_available():
            self._stream = torch.cuda.Stream()
            optimizer.register_step_pre_hook(lambda *_: self._hold_back())

    def take(self, tensors: Mapping[str, Tensor | zero3.Part]) -> None:
        """Copy ``tensors`` as they are now; returns when they may be read, and before the copies from a GPU are done.

        All processes call it together.
        """
        if self._stream is None:
            self._copy(tensors)
            return
        self._stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(self._stream):
            self._copy(tensors)
            self._copied = self._stream.record_event()

    def ready(self) -> dict[str, Tensor]:
        """The copies, once they are whole; they stay as they are until the next :meth:`take`."""
        if self._copied is not None:
            self._copied.synchronize()
        return self._buffers

    def _copy(self, tensors: Mapping[str, Tensor | zero3.Part]) -> None:
        if self._buffers.keys() != tensors.keys():
            self._buffers = {}
        for name, tensor in tensors.items():
            complete = whole(tensor).detach()
            if not self._holds:
                continue
            if name not in self._buffers:
                self._buffers[name] = torch.empty_like(
                    complete, device="cpu", pin_memory=complete.is_cuda, memory_format=torch.contiguous_format
                )
            self._buffers[name].copy_(complete, non_blocking=True)

    def _hold_back(self) -> None:
        if self._copied is not None:
            torch.cuda.current_stream().wait_event(self._copied)


@torch.no_grad()
def whole(tensor: Tensor | zero3.Part) -> Tensor:
    """All of a sharded tensor, which all processes ask for together; itself where it is not sharded."""
    return tensor.full_tensor() if isinstance(tensor, DTensor | zero3.Part) else tensor


def placed_as(live: Tensor, complete: Tensor) -> Tensor:
    """``complete``, of which every process has a copy, sharded as ``live``; itself where that one is not sharded."""
    if not isinstance(live, DTensor):
        return complete
    return distribute_tensor(complete, live.device_mesh, live.placements, src_data_rank=None)
