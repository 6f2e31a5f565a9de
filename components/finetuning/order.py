"""The order in which examples are seen, fixed before training starts."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

_BATCHES_SORTED_TOGETHER = 50


def batch_order(lengths: Sequence[int], batch_size: int, steps: int, seed: int) -> list[int]:
    """Indices of ``steps * batch_size`` examples, epoch after epoch, with examples of a batch of like length.

    As transformers' length-grouped sampler (shuffle, sort within some 50 batches), but the batches are shuffled again:
    there, lengths fall from long to short every 50 steps, and training ends on the shortest examples. The whole order
    depends on nothing but the arguments, so a resumed run sees what an uninterrupted one sees.
    """
    random = np.random.default_rng(seed)
    lengths_array = np.asarray(lengths)
    needed = steps * batch_size
    order: list[int] = []
    while len(order) < needed:
        # A batch may straddle two passes over the data, so that no example is left out however few there are.
        shuffled = np.concatenate([random.permutation(len(lengths_array)) for _ in range(_passes(lengths, batch_size))])
        batches = []
        window = _BATCHES_SORTED_TOGETHER * batch_size
        for start in range(0, len(shuffled), window):
            part = shuffled[start : start + window]
            part = part[np.argsort(lengths_array[part], kind="stable")]
            batches += [part[i : i + batch_size] for i in range(0, len(part), batch_size)]
        whole = [batch for batch in batches if len(batch) == batch_size]
        rest = [batch for batch in batches if len(batch) < batch_size]
        for index in random.permutation(len(whole)):
            order.extend(whole[index].tolist())
        for batch in rest:
            missing = random.choice(len(lengths_array), batch_size - len(batch))
            order.extend([*batch.tolist(), *missing.tolist()])
    return order[:needed]


def _passes(lengths: Sequence[int], batch_size: int) -> int:
    return max(1, -(-batch_size // len(lengths)))
