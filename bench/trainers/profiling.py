"""A step's processor time by kind of operation, from torch.profiler. Used in our environment and the Trainer's."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable

from torch.profiler import ProfilerActivity, profile

# In our interpreter a module of the package, in the Trainer's beside the script.
if __package__:
    from bench.trainers.marks import Marks
else:
    from marks import Marks

WARM = 2

# First match wins: name prefix of an operation -> kind.
KINDS = (
    ("aten::_scaled_dot_product", "attention"),
    ("aten::_flash_attention", "attention"),
    ("aten::baddbmm", "Muon"),
    ("aten::bmm", "Muon"),
    ("aten::mm", "matmul"),
    ("aten::addmm", "matmul"),
    ("aten::linear", "matmul"),
    ("aten::_log_softmax", "cross-entropy"),
    ("aten::nll_loss", "cross-entropy"),
    ("aten::cross_entropy", "cross-entropy"),
    ("aten::logsumexp", "cross-entropy"),
    ("aten::exp", "cross-entropy"),
    ("aten::_fused_adam", "AdamW"),
    ("aten::", "element-wise and copies"),
)


def seconds_by_kind(events: Iterable, steps: int) -> dict[str, float]:
    """Seconds a step of each kind; ``events`` are a profiler's ``key_averages()``.

    The model's own products are two-dimensional here, so that batched ones are Muon's.
    """
    seconds: dict[str, float] = defaultdict(float)
    for event in events:
        kind = next((kind for prefix, kind in KINDS if event.key.startswith(prefix)), "Python and the rest")
        seconds[kind] += event.self_cpu_time_total / 1e6 / steps
    return dict(sorted(seconds.items(), key=lambda item: -item[1]))


class ProfiledMarks(Marks):
    """Marks that also profile the steps after the first two, and write what they cost by kind to ``out``."""

    def __init__(self, path: str, steps: int, out: str):
        super().__init__(path)
        self._bound, self._steps, self._out = 0, steps, out
        self._profiler = profile(activities=[ProfilerActivity.CPU])

    def mark(self) -> None:
        super().mark()
        if self._bound == WARM:
            self._profiler.start()
        elif self._bound == self._steps:
            self._profiler.stop()
            seconds = seconds_by_kind(self._profiler.key_averages(), self._steps - WARM)
            with open(self._out, "w") as file:
                json.dump(seconds, file)
        self._bound += 1
