"""How good answers are by a reward model."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from components.encoder_decoder import plain
from components.finetuning.models import context_length, load_reward_model, load_tokenizer
from components.finetuning.records import Record, conversation
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


def encode_answered(
    tokenizer: Any, records: Sequence[Record], answers: Sequence[str], limit: int | None = None
) -> tuple[list[list[int]], Mapping[int, str]]:
    """Token ids of each record's question with its answer, as a reward model reads them.

    A decoder reads the conversation as its chat template shows it. A tokenizer without one is that of an encoder, which
    reads question and answer as two texts, with what its family puts around them. Text that spells a control token is
    text.

    Args:
        limit: most tokens. A conversation is cut at its end, of two texts the longer one.

    Returns:
        The ids, and by the place of an answer why the template does not show it.

    Raises:
        InputProblem: the chat template refuses a question.
    """
    if tokenizer.chat_template:
        found = encode_answers(tokenizer, records, answers)
        return [ids[:limit] for ids in found.whole().input_ids], found.faults
    if not records:
        return [], {}
    questions = [_question(record) for record in records]
    ids: list[list[int]] = tokenizer(
        questions, list(answers), truncation=limit is not None, max_length=limit, split_special_tokens=True
    )["input_ids"]
    return ids, {}


def _question(record: Record) -> str:
    """All up to the answer as text: the tools as JSON, and the turns."""
    tools = [json.dumps(tool, ensure_ascii=False) for tool in record.get("tools") or ()]
    return "\n".join([*tools, plain(conversation(record))])


@dataclass(frozen=True)
class Rewarder:
    """A reward model with the tokenizer that it was trained with, which need not be that of the answering model.

    Attributes:
        limit: tokens of a question with its answer that it reads; the rest is cut off.
    """

    model: Any
    tokenizer: Any
    limit: int

    def __call__(self, records: Sequence[Record], answers: Sequence[str]) -> list[float]:
        """The reward of one answer to each record's question.

        Raises:
            InputProblem: the reward model's chat template refuses a question.
        """
        ids, _ = encode_answered(self.tokenizer, records, answers, self.limit)
        return rewards(self.model, ids, pad=self.tokenizer.pad_token_id)


def load_rewarder(folder: Path, seed: int) -> Rewarder:
    """The reward model saved in ``folder``, which reads as much as it can: a limit of the answering model counts other
    tokens."""
    model, tokenizer = load_reward_model(folder, seed), load_tokenizer(folder)
    return Rewarder(model, tokenizer, context_length(model, tokenizer))
