"""The base model with a class head in place of its output layer, and what it predicts."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from components.finetuning import families
from components.finetuning.models import load
from components.finetuning.scoring import padded_batches
from core.errors import InputProblem


def load_classifier(
    folder: Path, names: Sequence[str], pad_token_id: int, seed: int, dtype: Any = "float32", **options: Any
) -> Any:
    """The model in ``folder`` with a fresh head of one output a label, drawn from ``seed``.

    A decoder's head reads the last token that is not padding, which is the only one that has seen the whole text; an
    encoder's the first one; that of an encoder-decoder the end token.
    """
    import torch
    from transformers import AutoModelForSequenceClassification
    from transformers.utils import logging

    families.require(folder, "classify_finetune")
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
            ignore_mismatched_sizes=True,  # a classifier of other labels gets another head
            problem_type="single_label_classification",
            dtype=dtype,
            **options,
        )
    finally:
        logging.set_verbosity(verbosity)


def choose_trained(model: Any, train: Literal["head", "last_layer", "all"]) -> int:
    """Freeze what is not to be trained; the number of weights that are.

    ``head`` is all that lies outside the pretrained part, and what the weights' files lack of that (the pooler of some
    encoders); ``last_layer`` adds the last block and what follows it, which of an encoder-decoder is the decoder's.

    Raises:
        InputProblem: ``last_layer``, and the model has no list of blocks.
    """
    base = model.base_model
    if train != "all":
        base.requires_grad_(False)
        for name, weights in model.named_parameters():
            if name in getattr(model, "fresh_weights", ()):
                weights.requires_grad_(True)
    if train == "last_layer":
        for module in _end(base, model):
            module.requires_grad_(True)
    return sum(parameter.numel() for parameter in model.parameters() if parameter.requires_grad)


def _end(base: Any, model: Any) -> list[Any]:
    """The last block of ``base``, and every module that comes after the blocks."""
    from torch import nn

    part = base.get_decoder() if model.config.is_encoder_decoder else base
    lists = [module for module in part.modules() if isinstance(module, nn.ModuleList) and len(module)]
    layers = len(lists[0]) if model.config.is_encoder_decoder and lists else model.config.num_hidden_layers
    # ALBERT's blocks are one, used many times.
    blocks = next((module for module in lists if len(module) == layers), lists[0] if lists else None)
    if blocks is None:
        raise InputProblem(
            f"classify_finetune.train: a model of type {model.config.model_type} has no list of blocks, so it has no "
            f"last layer: set it to head or all"
        )
    found, inner = [blocks[-1]], blocks
    while inner is not part:
        outer = next(module for module in part.modules() if any(child is inner for child in module.children()))
        children = list(outer.named_children())
        after = children[next(place for place, (_, child) in enumerate(children) if child is inner) + 1 :]
        # Declared after the blocks and computed before them: BART's norm of the embeddings.
        found += [child for name, child in after if "embed" not in name]
        inner = outer
    return found


def encode_texts(tokenizer: Any, texts: Sequence[str], *, end: int | None) -> list[list[int]]:
    """Token ids of each text, cut to the tokenizer's length. Text that spells a control token is text.

    Args:
        end: for an encoder-decoder its end token, which its head looks for: each text gets exactly one.
    """
    ids: list[list[int]] = tokenizer(list(texts), truncation=True, split_special_tokens=True)["input_ids"]
    if end is not None:
        room = tokenizer.model_max_length - 1
        return [[*[token for token in row if token != end][:room], end] for row in ids]
    # A vocabulary without bytes may know nothing of a text.
    return [row or [tokenizer.pad_token_id] for row in ids]


def predict(
    model: Any, encoded: Sequence[Sequence[int]], *, pad: int, batch_size: int, advance: Any
) -> NDArray[np.float32]:
    """Scores of the labels (shape ``[n, labels]``) for each text, given as token ids."""
    import torch

    found = np.zeros((len(encoded), model.config.num_labels), np.float32)
    model.eval()
    with torch.inference_mode():
        for rows, ids, real in padded_batches(model, encoded, pad=pad, batch_size=batch_size):
            found[rows] = model(input_ids=ids, attention_mask=real).logits.float().cpu().numpy()
            advance(len(rows))
    return found
