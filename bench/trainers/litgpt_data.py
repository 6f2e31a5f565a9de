"""The packed tokens as a data module of litgpt, in litgpt's own environment.

litgpt draws one batch before each step and one after the last, so that the draws are the bounds of its steps.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import torch
from litgpt.data import DataModule
from litgpt.tokenizer import Tokenizer
from marks import Marks
from torch.utils.data import DataLoader, Dataset


class Windows(Dataset):
    """Windows of ``context + 1`` tokens of a flat file: inputs and their successors."""

    def __init__(self, path: str, dtype: str, context: int):
        self._tokens, self._context = np.memmap(path, dtype=dtype, mode="r"), context

    def __len__(self) -> int:
        return (len(self._tokens) - 1) // self._context

    def __getitem__(self, index: int) -> torch.Tensor:
        start = index * self._context
        return torch.from_numpy(self._tokens[start : start + self._context + 1].astype(np.int64))


@dataclass
class MarkedStack:
    """Puts windows into a batch, and marks that it was drawn."""

    marks: Marks

    def __call__(self, windows: list[torch.Tensor]) -> torch.Tensor:
        self.marks.mark()
        return torch.stack(windows)


@dataclass
class PackedTokenModule(DataModule):
    """Training batches in a seeded order, marked as they are drawn."""

    tokens: str = ""
    dtype: str = "uint16"
    marks: str = ""
    seed: int = 0
    batch_size: int = field(init=False, default=1)
    max_seq_length: int = field(init=False, default=1)

    def connect(
        self, tokenizer: Tokenizer | None = None, batch_size: int = 1, max_seq_length: int | None = None
    ) -> None:
        self.batch_size, self.max_seq_length = batch_size, max_seq_length

    def train_dataloader(self) -> DataLoader:
        generator = torch.Generator().manual_seed(self.seed)
        collate = MarkedStack(Marks(self.marks))
        return DataLoader(
            self._windows(), self.batch_size, shuffle=True, generator=generator, drop_last=True, collate_fn=collate
        )

    def val_dataloader(self) -> DataLoader:
        return DataLoader(self._windows(), self.batch_size, drop_last=True)

    def _windows(self) -> Windows:
        return Windows(self.tokens, self.dtype, self.max_seq_length)
