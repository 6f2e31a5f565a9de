"""Runs the pretrain stage in this process and prints what it took: processor seconds a step, and memory at its peak.

Usage: python measured.py WORKSPACE PARAMETERS_AS_JSON
"""

from __future__ import annotations

import json
import statistics
import sys
import time
from contextlib import contextmanager
from pathlib import Path

import psutil

import components
from components.contract import Context
from components.pretrain import stage
from components.pretrain.parameters import PretrainParameters

WARM_UP = 2


class Watched(Context):
    """A context that notes processor time and peak memory after each step."""

    @contextmanager
    def progress(self, description, total, unit="it"):
        self.times, self.peak = [time.process_time()], 0

        def advance(n=1, **fields):
            self.times.append(time.process_time())
            self.peak = peak_memory()

        yield advance


def peak_memory() -> int:
    """Largest resident memory of this program so far; getrusage would count the program that started it, too."""
    status = Path("/proc/self/status").read_text()
    return int(next(line.split()[1] for line in status.splitlines() if line.startswith("VmHWM:"))) * 1024


def resident() -> int:
    """Resident memory of this program now."""
    return psutil.Process().memory_info().rss


def train(workspace: Path, name: str, parameters: dict) -> Watched:
    """Run the stage with outputs and checkpoints of its own."""
    component = components.load("pretrain")
    folders = {a.name: workspace / "measured" / name / a.name for a in component.outputs}
    scratch = workspace / "measured" / name / "scratch"
    for folder in (*folders.values(), scratch):
        folder.mkdir(parents=True)
    context = Watched(
        parameters=PretrainParameters(**parameters),
        seed=1337,
        inputs={a.name: workspace / a.path for a in component.inputs},
        outputs=folders,
        scratch=scratch,
    )
    stage.run(context)
    return context


def main() -> None:
    workspace, parameters = Path(sys.argv[1]), json.loads(sys.argv[2])
    # What libraries load at their first use is no part of a training's memory.
    small = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
    train(
        workspace,
        "warm-up",
        {**parameters, "architecture": small, "seq_length": 16, "per_device_batch_size": 2, "steps": 2},
    )
    before = resident()
    context = train(workspace, "real", parameters)
    steps = [after - earlier for earlier, after in zip(context.times, context.times[1:], strict=False)]
    figures = {"step_cpu_seconds": statistics.median(steps[WARM_UP:]), "peak_bytes": context.peak - before}
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
