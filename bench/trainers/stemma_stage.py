"""Our side: the pretrain stage itself, its steps timed from its own curve.

`python -m bench.trainers.stemma_stage ORDER.json`
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import components
from bench.stages import run_stage
from bench.trainers.marks import Marks
from components.contract import Context


def main() -> None:
    order = json.loads(Path(sys.argv[1]).read_text())
    marks = Marks(order["marks"])
    if order["profile"]:
        from bench.trainers.profiling import ProfiledMarks

        marks = ProfiledMarks(order["marks"], order["steps"], str(Path(order["folder"]) / "profile.json"))

    class TimedContext(Context):
        """Marks the beginning of the loop and each point of its curve, which is one a step."""

        @contextmanager
        def progress(self, *arguments: Any, **options: Any) -> Iterator[Any]:
            with super().progress(*arguments, **options) as advance:
                marks.mark()
                yield advance

        def log(self, metrics: Mapping[str, float], step: int) -> None:
            if "loss" in metrics:
                marks.mark()
            super().log(metrics, step)

    folder = Path(order["folder"])
    run_stage(
        "pretrain", folder, parameters(order), inputs=Path(order["data"]), seed=order["seed"], context_type=TimedContext
    )


def parameters(order: dict[str, Any]) -> dict[str, Any]:
    """The stage's section of params.yaml for an order; what it does not speak of keeps its default."""
    shape = {name: value for name, value in order["shape"].items() if name != "vocab_size"}
    return {
        "architecture": shape,
        "seq_length": order["context"],
        "per_device_batch_size": order["batch"],
        "steps": order["steps"],
        "devices": 1,
        "log_every": 1,
        # Nothing but training happens between the first and the last step.
        "checkpoint_every": order["steps"],
        "evaluate_every": order["steps"],
        "evaluation_tokens": order["context"],
        "sample_prompts": [],
        **_rates(order["learning_rate"]),
        **order["settings"],
    }


def _rates(rate: float | None) -> dict[str, float]:
    """AdamW's rate, and Muon's scaled along with it from the defaults."""
    if rate is None:
        return {}
    default = components.load("pretrain").parameters()
    return {"learning_rate": rate, "muon_learning_rate": default.muon_learning_rate * rate / default.learning_rate}


if __name__ == "__main__":
    main()
