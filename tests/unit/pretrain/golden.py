"""Golden losses: the first losses of a tiny training, kept to the last bit.

A change that is not meant to alter numbers leaves them as they are. Where it is meant to, or torch is another version,
write them anew and say so in the commit:

    python -m tests.unit.pretrain.golden

The last bits depend on torch and on the processor's vector units, so the file keeps one row of losses for each; on a
processor that it does not know the losses are compared to rounding only.
"""

from __future__ import annotations

import csv
import json
import platform
import tempfile
from pathlib import Path

import torch

import components
from tests.stage import run_component
from tests.unit.pretrain import tiny
from tests.unit.tokenize.stdlib_corpus import write_shard

FILE = Path(__file__).with_name("golden.json")
CHANGES = {"steps": 12, "log_every": 1, "sample_prompts": [], "checkpoint_every": 100, "evaluate_every": 100}


def key() -> str:
    """What the last bits depend on."""
    vendor = next(
        (line.split(":")[1].strip() for line in _cpuinfo() if line.startswith("vendor_id")), platform.processor()
    )
    return f"torch {torch.__version__}, {platform.machine()} {vendor}, {torch.backends.cpu.get_cpu_capability()}"


def losses(workspace: Path, optimizer: str) -> list[float]:
    """Losses of the first steps, one thread, on a corpus that no version of Python changes."""
    sums = [
        {"id": f"{a}+{b}", "text": f"The sum of {a} and {b} is {a + b}.", "kind": "sum", "group": str(a)}
        for a in range(40)
        for b in range(20)
    ]
    if not (workspace / "data/tokens/index.json").exists():
        write_shard(workspace / "data/corpus/train-00000-of-00001.parquet", sums[:700])
        write_shard(workspace / "data/corpus/validation-00000-of-00001.parquet", sums[700:])
        run_component(components.load("tokenize"), workspace, {"vocabulary_size": 300})
    tiny.finish(tiny.start(workspace, one_core=True, optimizer=optimizer, **CHANGES))
    with open(workspace / "reports/pretrain/curve.csv") as file:
        return [float(row["loss"]) for row in csv.DictReader(file)]


def _cpuinfo() -> list[str]:
    path = Path("/proc/cpuinfo")
    return path.read_text().splitlines() if path.exists() else []


def main() -> None:
    golden = json.loads(FILE.read_text()) if FILE.exists() else {}
    for optimizer in ("muon", "adamw"):
        with tempfile.TemporaryDirectory() as folder:
            golden.setdefault(optimizer, {})[key()] = losses(Path(folder), optimizer)
    FILE.write_text(json.dumps(golden, indent=1, sort_keys=True) + "\n")


if __name__ == "__main__":
    main()
