"""What it saves that a run imports its stages' libraries once: the whole job on a tiny budget, in turns with each stage
started anew. Prints seconds, processor seconds and their ratio; the weights must be the same bytes.

    python -m bench.starts --rounds 3
"""

from __future__ import annotations

import argparse
import hashlib
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from core import python

ROOT = Path(__file__).resolve().parents[1]
TINY = {
    "curate.sources.0.max_documents": 2500,
    "curate.engine.workers": 1,
    "curate.instructions.signatures.questions.instruct": 200,
    "curate.instructions.signatures.questions.reward": 30,
    "curate.instructions.signatures.questions.preference": 30,
    "curate.instructions.signatures.questions.development": 20,
    "curate.instructions.signatures.questions.test": 20,
    "tokenize.vocabulary_size": 512,
    "tokenize.engine.workers": 1,
    "pretrain.steps": 12,
    "pretrain.devices": 1,
    "pretrain.architecture.hidden_size": 32,
    "pretrain.architecture.intermediate_size": 64,
    "pretrain.architecture.num_hidden_layers": 2,
    "classify_finetune.steps": 4,
    "instruct_finetune.steps": 6,
    "reward_model.steps": 4,
    "preference_tune.steps": 2,
    "evaluate.held_out.documents": 40,
    "evaluate.lm_eval.limit": 8,
}
COMMAND = """
import sys
if __name__ == "__main__":
    from core import prefork
    if sys.argv.pop(1) == "started":
        prefork.is_possible = lambda: False
    sys.argv[0] = "stemma"
    from cli import main
    main()
"""


def run(side: str) -> tuple[float, float, dict[str, str]]:
    """(seconds, processor seconds of all processes, digests of the weights by model) of a run in a fresh clone.

    Raises:
        subprocess.CalledProcessError: the run failed.
    """
    with tempfile.TemporaryDirectory() as folder:
        clone = Path(folder, "clone")
        subprocess.run(["git", "clone", "-q", ROOT, clone], check=True)
        (clone / "command.py").write_text(COMMAND)
        environment = {**os.environ, "PYTHONPATH": str(clone), "OMP_NUM_THREADS": "1"}
        options = [part for name, value in TINY.items() for part in ("--set", f"{name}={value}")]
        line = python.script(clone / "command.py", side)
        subprocess.run([*line, "init", "--quiet"], cwd=clone, env=environment, check=True)
        began, used = time.monotonic(), _children_seconds()
        subprocess.run([*line, "run", *options], cwd=clone, env=environment, check=True, stdout=subprocess.DEVNULL)
        seconds, processor = time.monotonic() - began, _children_seconds() - used
        weights = sorted((clone / "models").glob("*/model.safetensors"))
        return seconds, processor, {path.parent.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in weights}


def _children_seconds() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def main() -> int:
    """Measure, and print what was measured."""
    parser = argparse.ArgumentParser(prog="python -m bench.starts", description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    rounds = parser.parse_args().rounds
    found: dict[str, list[tuple[float, float]]] = {"started": [], "forked": []}
    made = None
    for number in range(rounds):
        for side in found:
            seconds, processor, weights = run(side)
            found[side].append((seconds, processor))
            print(f"round {number + 1}: {side}: {seconds:.1f} s, {processor:.1f} processor seconds", flush=True)
            if made is not None and weights != made:
                print("the weights differ", file=sys.stderr)
                return 1
            made = weights
    for place, name in enumerate(("seconds", "processor seconds")):
        ratios = [forked[place] / started[place] for started, forked in zip(*found.values(), strict=True)]
        each = ", ".join(f"{side} {statistics.median(one[place] for one in all_):.1f}" for side, all_ in found.items())
        print(f"{name}: {each}; ratio {statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})")
    print(f"{len(made or {})} models, the same bytes on both sides")
    return 0


if __name__ == "__main__":
    sys.exit(main())
