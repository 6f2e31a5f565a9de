"""What devices can do, as their makers publish it: dense peak FLOPs a second, memory, bandwidth, power; and which of
them this machine has.

Peaks are those of dense matrix products (half of what data sheets print "with sparsity"), at boost clock.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

Precision = Literal["fp32", "bf16", "fp8"]


@dataclass(frozen=True)
class Device:
    """A device as published.

    Attributes:
        title: its maker's name for it.
        peak: dense FLOPs a second by the precision of the matrix products; what it has no units for is left out.
            float32 is true float32 (PyTorch's default), not TF32.
        memory: bytes; makers' gigabytes are taken as 1e9.
        bandwidth: of that memory, bytes a second.
        power: thermal design power, watts.
        source: where these numbers are published.
    """

    title: str
    peak: Mapping[Precision, float]
    memory: float
    bandwidth: float
    power: float
    source: str

    @property
    def is_processor(self) -> bool:
        """Whether nothing was published that would hold for it: this machine is measured instead."""
        return not self.peak


def _gpu(title: str, float32: float, bfloat16: float, float8: float | None, memory: float, bandwidth: float,
         power: float, source: str) -> Device:  # fmt: skip
    """Numbers in TFLOPs a second, GB, TB a second and watts."""
    peak: dict[Precision, float] = {"fp32": float32 * 1e12, "bf16": bfloat16 * 1e12}
    if float8 is not None:
        peak["fp8"] = float8 * 1e12
    return Device(title, peak, memory * 1e9, bandwidth * 1e12, power, source)


_HOPPER = "https://resources.nvidia.com/en-us-tensor-core/gtc22-whitepaper-hopper"
_AMPERE = "https://www.nvidia.com/content/dam/en-zz/Solutions/Data-Center/a100/pdf/nvidia-a100-datasheet-us-nvidia-1758950-r4-web.pdf"

DEVICES: dict[str, Device] = {
    "h100": _gpu("NVIDIA H100 SXM 80 GB", 66.9, 989.4, 1978.9, 80, 3.35, 700, _HOPPER),
    "h200": _gpu(
        "NVIDIA H200 SXM 141 GB", 66.9, 989.4, 1978.9, 141, 4.8, 700, "https://www.nvidia.com/en-us/data-center/h200/"
    ),
    # An H100 with slower NVLink and float64; the matrix units are the same (DeepSeek-V3, arXiv:2412.19437, ran on it).
    "h800": _gpu("NVIDIA H800 SXM 80 GB", 66.9, 989.4, 1978.9, 80, 3.35, 700, _HOPPER),
    "a100-40": _gpu("NVIDIA A100 SXM 40 GB", 19.5, 312, None, 40, 1.555, 400, _AMPERE),
    "a100-80": _gpu("NVIDIA A100 SXM 80 GB", 19.5, 312, None, 80, 2.039, 400, _AMPERE),
    "b200": _gpu(
        "NVIDIA B200 180 GB (HGX)", 75, 2250, 4500, 180, 7.7, 1000, "https://resources.nvidia.com/en-us-blackwell-architecture"
    ),
    "l40s": _gpu("NVIDIA L40S", 91.6, 362.05, 733, 48, 0.864, 350, "https://www.nvidia.com/en-us/data-center/l40s/"),
    "4090": _gpu(
        "NVIDIA GeForce RTX 4090", 82.6, 165.2, 330.3, 24, 1.008, 450,
        "https://images.nvidia.com/aem-dam/Solutions/geforce/ada/nvidia-ada-gpu-architecture.pdf",
    ),
    "mi300x": _gpu(
        "AMD Instinct MI300X", 163.4, 1307.4, 2614.9, 192, 5.3, 750,
        "https://www.amd.com/en/products/accelerators/instinct/mi300/mi300x.html",
    ),
    # Processors differ too much for a table: speed is measured by a probe, memory read from the system.
    "cpu": Device("this machine's processor", {}, 0, 0, 0, "measured here"),
}  # fmt: skip


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
