"""The base model with a class head in place of its output layer, and what it predicts."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from components.finetuning.models import load, require_decoder
from components.finetuning.scoring import padded_batches


def load_classifier(
    folder: Path, names: Sequence[str], pad_token_id: int, seed: int, dtype: Any = "float32", **options: Any
) -> Any:
    """The decoder in ``folder`` with a fresh head of one output a label, drawn from ``seed``.

    The head reads the last token that is not padding, which is the only one that has seen the whole text.
    """
    import torch
    from transformers import AutoModelForSequenceClassification
    from transformers.utils import logging

    require_decoder(folder)
    torch.manual_seed(seed)
    verbosity = logging.get_verbosity()
    logging.set_verbosity_error()  # it warns that the head is new, which is the point
    try:
        return load(
            AutoModelForSequenceClassification,
            folder,
            num_labels=len(names),
            id2label=dict(enumerate(names)),
            label2id={name: place for place, name in enumerate(names)},
            pad_token_id=pad_token_id,
            problem_type="single_label_classification",
            dtype=dtype,
            **options,
        )
    finally:
        logging.set_verbosity(verbosity)


def choose_trained(model: Any, train: Literal["head", "last_layer", "all"]) -> int:
    """Freeze what is not to be trained; the number of weights that are.

    ``head`` is all that lies outside the decoder; ``last_layer`` adds the decoder's last block and what follows it.
    """
    from torch import nn

    decoder = model.base_model
    if train != "all":
        decoder.requires_grad_(False)
    if train == "last_layer":
        blocks = next(
            module
            for module in decoder.modules()
            if isinstance(module, nn.ModuleList) and len(module) == model.config.num_hidden_layers
        )
        blocks[-1].requires_grad_(True)
        for module in decoder.modules():
            children = list(module.children())
            if any(child is blocks for child in children):
                after = children[next(place for place, child in enumerate(children) if child is blocks) + 1 :]
                for child in after:
                    child.requires_grad_(True)
    return sum(parameter.numel() for parameter in model.parameters() if parameter.requires_grad)


def predict(
    model: Any, encoded: Sequence[Sequence[int]], *, pad: int, batch_size: int, advance: Any
) -> NDArray[np.int64]:
    """Place of the most probable label of each text (shape ``[n]``), given as token ids."""
    import torch

    found = np.zeros(len(encoded), np.int64)
    model.eval()
    with torch.inference_mode():
        for rows, ids, real in padded_batches(model, encoded, pad=pad, batch_size=batch_size):
            found[rows] = model(input_ids=ids, attention_mask=real).logits.argmax(dim=-1).cpu().numpy()
            advance(len(rows))
    return found
