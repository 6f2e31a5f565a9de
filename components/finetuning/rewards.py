"""How good answers are by a reward model."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from components.finetuning.models import context_length, load_reward_model, load_tokenizer
from components.finetuning.records import Record
from components.finetuning.scoring import padded_batches
from components.finetuning.templates import encode_answers


def rewards(model: Any, conversations: Sequence[list[int]], *, pad: int, batch_size: int = 128) -> list[float]:
    """The reward of each conversation, given as token ids (any unit; only differences mean something)."""
    import torch

    found = [0.0] * len(conversations)
    model.eval()
    with torch.inference_mode():
        for rows, ids, real in padded_batches(model, conversations, pad=pad, batch_size=batch_size):
            logits = model(input_ids=ids, attention_mask=real).logits[:, 0]
            for row, value in zip(rows, logits.float().tolist(), strict=True):
                found[row] = value
    return found


@dataclass(frozen=True)
class Rewarder:
    """A reward model with the tokenizer that it was trained with, which need not be that of the answering model.

    Attributes:
        limit: tokens of a conversation that it reads; the rest is cut off.
    """

    model: Any
    tokenizer: Any
    limit: int

    def __call__(self, records: Sequence[Record], answers: Sequence[str]) -> list[float]:
        """The reward of one answer to each record's question.

        Raises:
            InputProblem: the reward model's chat template refuses a question.
        """
        whole = encode_answers(self.tokenizer, records, answers).whole().input_ids
        return rewards(self.model, [ids[: self.limit] for ids in whole], pad=self.tokenizer.pad_token_id)


def load_rewarder(folder: Path, seed: int, seq_length: int | None = None) -> Rewarder:
    """The reward model saved in ``folder``; ``seq_length`` shortens what it reads."""
    model, tokenizer = load_reward_model(folder, seed), load_tokenizer(folder)
    return Rewarder(model, tokenizer, context_length(model, tokenizer, seq_length))
