"""Results on disk: one JSON file, written whole after every measurement, so that an interrupted bench goes on."""

from __future__ import annotations

import hashlib
import json
import os
import platform
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from core.files import read_json, write_json


class Results:
    """Measurements by the order that made them.

    Attributes:
        path: the JSON file: ``machine``, and ``cells`` by key, each with its ``order`` and what was measured.
    """

    def __init__(self, path: Path, machine: Mapping[str, Any]):
        self.path = path
        self._lock = threading.Lock()
        self._body = {"cells": {}, **read_json(path, {}), "machine": dict(machine)}

    @property
    def cells(self) -> dict[str, dict[str, Any]]:
        return self._body["cells"]

    @property
    def machine(self) -> dict[str, Any]:
        return self._body["machine"]

    def has(self, order: Mapping[str, Any]) -> bool:
        """Whether the result of ``order`` is kept."""
        return _key(order) in self.cells

    def get(self, order: Mapping[str, Any], measure: Callable[[], dict[str, Any]]) -> dict[str, Any]:
        """The result of ``order``: what is kept, else what ``measure`` returns, which is kept from then on."""
        key = _key(order)
        if key not in self.cells:
            result = measure()
            with self._lock:
                self.cells[key] = {"order": dict(order), **result}
                write_json(self.path, self._body)
        return self.cells[key]


def _key(order: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(order, sort_keys=True).encode()).hexdigest()[:20]


def machine() -> dict[str, Any]:
    """Processor, its units for low precision, memory, and the versions on our side."""
    import psutil
    import torch
    import transformers

    from bench.trainers.ceiling import BF16_UNITS

    flags = torch.cpu.get_capabilities()
    return {
        "processor": _processor(),
        "cores": os.cpu_count(),
        "bf16_units": any(flags.get(unit) for unit in BF16_UNITS),
        "vectors": torch.backends.cpu.get_cpu_capability(),
        "memory_gb": round(psutil.virtual_memory().total / 1e9),
        "system": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
        "torch": torch.__version__,
        "transformers": transformers.__version__,
    }


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    fields = dict(line.split(":", 1) for line in lines if ":" in line)
    fields = {name.strip(): value.strip() for name, value in fields.items()}
    model = fields.get("model name", platform.machine())
    return f"{model} (family {fields['cpu family']}, model {fields['model']})" if "cpu family" in fields else model
