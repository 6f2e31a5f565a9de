"""Packed tokens as training and validation sequences, read from memory-mapped shards."""

from __future__ import annotations

import bisect
import itertools
import json
import math
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Generic, TypeVar

import numpy as np
import torch
from torch import Tensor

from core.errors import InputProblem

IGNORED = -100


class TokenSplit:
    """One split's shards, memory-mapped.

    Attributes:
        shards: token ids of each file, [tokens].
        tokens: ids of all files together, separators included.
        bytes: bytes of UTF-8 text that the tokens stand for.
        end: the token that ends a document.
        start: the token that a document begins after or with: ``end``, or the tokenizer's own.
        seq_length: the shards are sequences of so many inputs and the last one's label, padded with ``start``;
            ``None``: a stream of documents.
    """

    def __init__(self, folder: Path, split: str):
        index = json.loads((folder / "index.json").read_text())
        entry = index["splits"][split]
        self.end: int = index["eos_token_id"]
        self.start: int = index.get("bos_token_id", self.end)
        self.begins = "bos_token_id" in index  # a shard's first token is ``start``, which nothing predicts
        self.seq_length: int | None = index["seq_length"] if "sequences" in entry else None
        self._unpredicted = entry.get("padding", 0) + (entry.get("sequences", 0) if self.start == self.end else 0)
        self.vocabulary: int = index["vocab_size"]
        dtype = np.dtype(index["dtype"]).newbyteorder("<")
        problems, self.names, self.shards = [], [], []
        for shard in entry["shards"]:
            path = folder / shard["file"]
            size = path.stat().st_size if path.exists() else -1
            if size != shard["tokens"] * dtype.itemsize:
                found = "is missing" if size < 0 else f"has {size} bytes"
                problems.append(
                    f"{path.name} {found}; index.json lists {shard['tokens'] * dtype.itemsize} bytes: "
                    f"run the tokenize stage again"
                )
            elif size:
                self.names.append(path.name)
                self.shards.append(np.memmap(path, dtype=dtype, mode="r"))
        if problems:
            raise InputProblem(problems)
        self.tokens: int = entry["tokens"]
        self.bytes: int = entry["bytes"]

    def counts(self) -> np.ndarray:
        """Occurrences of each id, padding left out, [vocabulary], read in pieces."""
        counts = np.zeros(self.vocabulary, dtype=np.int64)
        for shard in self.shards:
            for start in range(0, len(shard), 1 << 24):
                counts += np.bincount(shard[start : start + (1 << 24)], minlength=self.vocabulary)
        counts[self.start] -= self._unpredicted
        return counts


@dataclass(frozen=True)
class Window:
    """A training sequence: ``context + 1`` tokens of ``shard`` from ``start`` on."""

    shard: int
    start: int


class TrainingOrder:
    """Which sequences make which batch: a pure function of the seed and a sequence's number in the training.

    Every epoch takes all sequences once, in an order of its own, and cuts each shard at an offset of its own, so that
    repeated epochs see new sequences. Shards of packed sequences are taken as they are.
    """

    def __init__(self, split: TokenSplit, context: int, seed: int):
        self._split, self._context, self._seed = split, context, seed
        self.start = split.start
        packed = split.seq_length is not None
        self._stride = context + packed  # from a window's first token to the next one's
        lengths = np.array([len(shard) for shard in split.shards], dtype=np.int64)
        # One window less than would fit leaves room for the offset, where there are two.
        per_shard = np.where(lengths > context, np.maximum(1, (lengths - context) // context), 0)
        if packed:
            per_shard = lengths // self._stride
        self._slack = np.clip(lengths - 1 - per_shard * context, 0, 0 if packed else context - 1)
        self._ends = np.cumsum(per_shard)
        self.windows = int(self._ends[-1]) if len(self._ends) else 0
        self._epochs: dict[int, tuple[np.ndarray, np.ndarray]] = {}

    def batch(self, first: int, size: int) -> list[Window]:
        """The windows of ``size`` sequences, after the ``first`` ones of the training."""
        return [self._window(index) for index in range(first, first + size)]

    def read(self, windows: list[Window]) -> tuple[Tensor, Tensor]:
        """Inputs and labels [windows, context]; a label is the token after its input, where that is no padding."""
        length = self._context + 1
        rows = np.stack([self._split.shards[w.shard][w.start : w.start + length] for w in windows]).astype(np.int64)
        tokens = torch.from_numpy(rows)
        inputs, labels = tokens[:, :-1], tokens[:, 1:]
        if self._split.seq_length is not None:
            labels = labels.masked_fill((inputs == self.start) & (labels == self.start), IGNORED)
        return inputs, labels

    def describe(self, window: Window) -> str:
        """Where a window lies, for a person."""
        return f"{self._split.names[window.shard]} tokens {window.start} to {window.start + self._context}"

    def _window(self, index: int) -> Window:
        epoch, position = divmod(index, self.windows)
        permutation, offsets = self._epoch(epoch)
        number = int(permutation[position])
        shard = int(np.searchsorted(self._ends, number, side="right"))
        first = int(self._ends[shard - 1]) if shard else 0
        return Window(shard, (number - first) * self._stride + int(offsets[shard]))

    def _epoch(self, epoch: int) -> tuple[np.ndarray, np.ndarray]:
        if epoch not in self._epochs:
            generator = np.random.default_rng([self._seed, epoch])
            offsets = generator.integers(0, self._slack + 1)
            order = np.arange(self.windows, dtype=np.uint32 if self.windows < 1 << 32 else np.uint64)
            generator.shuffle(order)
            # A batch may reach over the end of an epoch, never over two unless the corpus is tiny.
            self._epochs = {e: kept for e, kept in self._epochs.items() if e == epoch - 1}
            self._epochs[epoch] = order, offsets
        return self._epochs[epoch]


def document_positions(inputs: Tensor, start: int) -> Tensor:
    """Positions from 0 in each document, [sequences, context].

    A document begins at the token ``start``, from which its first token is predicted (generation and evaluation begin
    so too). Where that is the end token of the document before it, the end token that closes it is predicted within it:
    no label crosses a boundary, and none needs to be ignored. What a sequence begins with counts from 0 as well.
    """
    index = torch.arange(inputs.shape[1], device=inputs.device).expand_as(inputs)
    return index - torch.where(inputs == start, index, 0).cummax(dim=1).values


def evaluation_batches(
    split: TokenSplit, context: int, size: int, *, tokens: int | None = None, rank: int = 0, processes: int = 1
) -> Iterator[tuple[Tensor, Tensor]]:
    """Inputs and labels [<= size, context] that predict each token of the split exactly once.

    Windows do not overlap; the first token of a shard is predicted from the split's ``start``, the last window is
    filled up with ignored labels. At most about ``tokens`` tokens, spread evenly over the split, are taken; each
    process takes every ``processes``-th window. All processes get as many batches, since a sharded model is computed
    by all together: a last one that has no window left gets a row whose labels are all ignored.
    """
    windows = [Window(number, start) for number, shard in enumerate(split.shards) for start in _starts(shard, context)]
    if tokens is not None:
        wanted = max(1, min(len(windows), tokens // context))
        windows = [windows[i * len(windows) // wanted] for i in range(wanted)]
    most = -(-len(windows) // processes)
    windows = windows[rank::processes]
    for first in range(0, most, size):
        part = windows[first : first + size]
        inputs = np.full((max(1, len(part)), context), split.start, dtype=np.int64)
        labels = np.full((max(1, len(part)), context), IGNORED, dtype=np.int64)
        for row, window in enumerate(part):
            shard = split.shards[window.shard]
            targets = shard[window.start : window.start + context]
            labels[row, : len(targets)] = targets
            if window.start:
                inputs[row, 0] = shard[window.start - 1]
            elif split.begins:
                labels[row, 0] = IGNORED
            inputs[row, 1 : len(targets)] = targets[:-1]
        yield torch.from_numpy(inputs), torch.from_numpy(labels)


def _starts(shard: np.ndarray, context: int) -> range:
    return range(0, len(shard), context)


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
        while start is not None and ramp_tokens is not None and seen * context < ramp_tokens:
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


T = TypeVar("T")


class Prefetch(Generic[T]):
    """The next step's data, read while the present step is computed: a thread calls ``read(step)`` one step ahead.

    Args:
        read: a pure function of the step that draws from no shared random state, so that a checkpoint holds the same
            state whether or not the thread has run ahead.
        steps: no step from this number on is read.
    """

    def __init__(self, read: Callable[[int], T], steps: int):
        self._read, self._steps = read, steps
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="prefetch")
        self._next: tuple[int, Future[T]] | None = None

    def __enter__(self) -> Prefetch[T]:
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._thread.shutdown(cancel_futures=True)

    def get(self, step: int) -> T:
        """What ``read(step)`` returns, or the exception it raised; the next step is begun."""
        ahead = self._next
        future = ahead[1] if ahead and ahead[0] == step else self._thread.submit(self._read, step)
        batch = future.result()
        self._next = (step + 1, self._thread.submit(self._read, step + 1)) if step + 1 < self._steps else None
        return batch
