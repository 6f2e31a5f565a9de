"""The machine at hand: its device, what of its memory is free, and how it is shared among processes."""

from __future__ import annotations

import os

from components.planning.devices import DEVICES

_MARKS = {
    "H100": "h100", "H200": "h200", "H800": "h800", "B200": "b200", "L40S": "l40s", "RTX 4090": "4090",
    "MI300X": "mi300x",
}  # fmt: skip


def device_here() -> str:
    """Name in :data:`DEVICES` of the accelerator here; ``cpu`` where there is none, or none that the table knows."""
    import torch

    if not torch.cuda.is_available():
        return "cpu"
    title = torch.cuda.get_device_name()
    if "A100" in title:
        return "a100-80" if torch.cuda.get_device_properties(0).total_memory > 60e9 else "a100-40"
    return next((name for mark, name in _MARKS.items() if mark in title), "cpu")


def threads_of(processes: int) -> int:
    """Threads of each of ``processes`` processes, as the pretrain stage sets them."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, cores // processes)


def capacity(device: str, processes: int) -> float:
    """Bytes that one process's training may take: a device's memory, or a share of what is free here.

    A process of a processor also holds Python and its libraries: as much as this one, which has imported them.
    """
    if not DEVICES[device].is_processor:
        return DEVICES[device].memory
    import psutil

    own = psutil.Process().memory_info().rss
    return (psutil.virtual_memory().available + own) / processes - own
