"""Loss of a causal language model on whole documents, in sliding windows."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from transformers import PreTrainedModel

# Largest block of logits held at once, in elements: 256 MB in float32.
_LOGITS = 2**26


def windows(length: int, context: int) -> Iterator[tuple[int, int, int]]:
    """How ``length`` tokens are covered: (first input, end of inputs, first of them whose prediction is scored).

    Each window moves on by half a context, so that every token is scored once, and all but a document's first with at
    least half a context before it (Hugging Face's "Perplexity of fixed-length models", stride = context / 2).
    """
    stride = max(context // 2, 1)
    scored = 0
    for start in range(0, length, stride):
        end = min(start + context, length)
        yield start, end, scored
        scored = end
        if end == length:
            return


def negative_log_likelihoods(
    model: PreTrainedModel,
    documents: Sequence[Sequence[int]],
    *,
    separator: int,
    context: int,
    on_tokens: Callable[[int], None] = lambda tokens: None,
) -> list[NDArray[np.float64]]:
    """Negative log likelihood, in nats, of every token of every document.

    Each document is scored alone, after the separator (as in training, where documents are packed with separators
    between them). A document's own end token, if it is to count, must be its last.

    Args:
        model: in eval mode, on the device to use.
        documents: token ids of each document.
        separator: token that precedes a document.
        context: tokens in a window, at most the model's own.
        on_tokens: called with the number of tokens scored in each batch.
    """
    import torch

    losses = [np.zeros(len(document)) for document in documents]
    work = [
        (number, start, end, scored)
        for number, document in enumerate(documents)
        for start, end, scored in windows(len(document), context)
    ]
    work.sort(key=lambda window: (window[2] - window[1], window))
    vocabulary = model.get_output_embeddings().weight.shape[0]
    with torch.inference_mode():
        for batch in _batches(work, vocabulary):
            width = max(end - start for _, start, end, _ in batch)
            # Inputs are the tokens shifted right by one; right padding is harmless under a causal mask.
            inputs = torch.full((len(batch), width), separator, dtype=torch.long)
            targets = torch.full((len(batch), width), -100, dtype=torch.long)
            for row, (number, start, end, scored) in enumerate(batch):
                document = torch.as_tensor(documents[number], dtype=torch.long)
                shifted = torch.cat([torch.tensor([separator]), document[:-1]])
                inputs[row, : end - start] = shifted[start:end]
                targets[row, scored - start : end - start] = document[scored:end]
            logits = model(input_ids=inputs.to(model.device), use_cache=False).logits.float()
            token_losses = torch.nn.functional.cross_entropy(
                logits.flatten(0, 1), targets.to(model.device).flatten(), reduction="none"
            )
            rows = token_losses.view(len(batch), width).double().cpu().numpy()
            for row, (number, start, end, scored) in enumerate(batch):
                losses[number][scored:end] = rows[row, scored - start : end - start]
            on_tokens(sum(end - scored for _, _, end, scored in batch))
    return losses


def _batches(work: list[tuple[int, int, int, int]], vocabulary: int) -> Iterator[list[tuple[int, int, int, int]]]:
    """Windows of about one length side by side, as many as the block of logits allows."""
    batch: list[tuple[int, int, int, int]] = []
    for window in work:  # sorted by length, so the newest is the widest
        if batch and (len(batch) + 1) * (window[2] - window[1]) * vocabulary > _LOGITS:
            yield batch
            batch = []
        batch.append(window)
    if batch:
        yield batch
