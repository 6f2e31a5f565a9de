"""How many sequences each step takes: a function of the step, so that the position in the data stays one number."""

from __future__ import annotations

import bisect
import itertools
import math


class Batches:
    """Sizes of the batches: ``start`` sequences rising linearly in tokens to ``size`` over ``ramp_tokens``.

    Small batches waste less while the gradient is still large compared with its noise (McCandlish et al. 2018; Llama 3
    raises its batch twice). Without ``start`` every step takes ``size``.

    Args:
        size: sequences of a full batch.
        context: tokens of a sequence.
        multiple: every size is a multiple of it: the processes that share a batch.
    """

    def __init__(
        self, size: int, context: int, *, start: int | None = None, ramp_tokens: int | None = None, multiple: int = 1
    ):
        self.full = size
        self._context = context
        sizes, seen = [], 0
        while start is not None and seen * context < ramp_tokens:
            raised = start + (size - start) * seen * context / ramp_tokens
            sizes.append(max(multiple, int(raised) // multiple * multiple))
            seen += sizes[-1]
        self._sizes = sizes
        self._ends = list(itertools.accumulate(sizes))

    def size(self, step: int) -> int:
        """Sequences of step number ``step`` (from 0)."""
        return self._sizes[step] if step < len(self._sizes) else self.full

    def before(self, step: int) -> int:
        """Sequences of all steps before step number ``step``."""
        ramp = min(step, len(self._sizes))
        return (self._ends[ramp - 1] if ramp else 0) + (step - ramp) * self.full

    def tokens(self, steps: int) -> int:
        """Tokens of the first ``steps`` steps."""
        return self.before(steps) * self._context

    def steps(self, sequences: float) -> int:
        """Steps that take at least so many sequences; at least one."""
        ramp = self._ends[-1] if self._ends else 0
        if sequences <= ramp:
            return bisect.bisect_left(self._ends, sequences) + 1
        return max(1, len(self._sizes) + math.ceil((sequences - ramp) / self.full))
