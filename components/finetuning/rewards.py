"""Scores of a reward model."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from components.finetuning.models import device, require_decoder


def load_reward_model(folder: Path, seed: int) -> Any:
    """A sequence classifier with one output, in float32; its head is drawn from ``seed`` where the folder has none."""
    import torch
    from transformers import AutoModelForSequenceClassification
    from trl.trainer.reward_trainer import suppress_seqcls_warning

    require_decoder(folder)
    torch.manual_seed(seed)
    with suppress_seqcls_warning():
        model = AutoModelForSequenceClassification.from_pretrained(
            folder, num_labels=1, dtype=torch.float32, local_files_only=True
        )
    return model.to(device())


def rewards(
    model: Any,
    conversations: Sequence[list[int]],
    *,
    pad: int,
    batch_size: int = 128,
    on_batch: Callable[[int], None] | None = None,
) -> list[float]:
    """The reward of each conversation, given as token ids (any unit; only differences mean something)."""
    import torch

    order = sorted(range(len(conversations)), key=lambda index: len(conversations[index]))
    found = [0.0] * len(order)
    model.eval()
    with torch.inference_mode():
        for start in range(0, len(order), batch_size):
            rows = order[start : start + batch_size]
            longest = max(len(conversations[row]) for row in rows)
            gaps = [longest - len(conversations[row]) for row in rows]
            ids = torch.tensor([conversations[row] + [pad] * gap for row, gap in zip(rows, gaps, strict=True)])
            real = torch.tensor([[1] * (longest - gap) + [0] * gap for gap in gaps])
            logits = model(input_ids=ids.to(model.device), attention_mask=real.to(model.device)).logits[:, 0]
            for row, value in zip(rows, logits.float().tolist(), strict=True):
                found[row] = value
            if on_batch:
                on_batch(len(rows))
    return found
