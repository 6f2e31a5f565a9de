"""Encoder-decoders in training: the loss on the target, the Trainer that minimises it, likelihood of given targets."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from components.contract import Context
from components.encoder_decoder import start_token
from components.finetuning import families
from components.finetuning.models import load
from components.finetuning.parameters import FineTuningParameters
from components.finetuning.scoring import Likelihood
from components.finetuning.training import Curve, Watch, arguments, train
from core.errors import InputProblem


def load_encoder_decoder(folder: Path, dtype: Any = "float32", **options: Any) -> Any:
    """An encoder-decoder that writes text, on the accelerator if there is one.

    Raises:
        InputProblem: the folder holds another kind of model.
    """
    from transformers import AutoModelForSeq2SeqLM

    family = families.of(folder)
    if family.kind != "encoder-decoder":
        raise InputProblem(f"models/{folder.name}: a model of type {family.model_type} is no encoder-decoder")
    return load(AutoModelForSeq2SeqLM, folder, dtype=dtype, **options)


def fit(
    context: Context,
    parameters: FineTuningParameters,
    model: Any,
    tokenizer: Any,
    sources: Sequence[list[int]],
    targets: Sequence[list[int]],
    *,
    description: str,
    watch: Watch | None = None,
) -> Curve:
    """Train ``model`` in place: each target's negative log-likelihood given its source, a mean over all tokens of the
    step's targets."""
    import torch
    from datasets import Dataset
    from transformers import DataCollatorForSeq2Seq, Trainer, TrainingArguments

    def settings(*, max_length: None, **values: Any) -> TrainingArguments:
        return TrainingArguments(**values)  # max_length is TRL's own

    def loss(outputs: Any, labels: Any, num_items_in_batch: Any = None) -> Any:
        total = torch.nn.functional.cross_entropy(
            outputs.logits.flatten(0, 1).float(), labels.flatten(), ignore_index=-100, reduction="sum"
        )
        return total / num_items_in_batch

    return train(
        context,
        Trainer,
        parameters,
        description=description,
        model=model,
        lengths=[len(source) + len(target) for source, target in zip(sources, targets, strict=True)],
        train_dataset=Dataset.from_dict({"input_ids": list(sources), "labels": list(targets)}),
        args=arguments(context, settings, parameters),
        processing_class=tokenizer,
        # It also shifts the targets into what the decoder reads.
        data_collator=DataCollatorForSeq2Seq(tokenizer, model=model),
        compute_loss_func=loss,
        watch=watch,
    )


def likelihood(
    model: Any, sources: Sequence[list[int]], targets: Sequence[list[int]], *, pad: int, batch_size: int = 128
) -> Likelihood:
    """Score each target given its source."""
    import torch

    scores, counts = [0.0] * len(targets), [len(target) for target in targets]
    order = sorted(range(len(targets)), key=lambda place: (len(sources[place]), counts[place]))
    start = start_token(model)
    model.eval()
    with torch.inference_mode():
        for first in range(0, len(order), batch_size):
            rows = order[first : first + batch_size]
            ids, seen = _padded([sources[row] for row in rows], pad, model.device)
            wanted, real = _padded([targets[row] for row in rows], pad, model.device)
            read = torch.cat([torch.full_like(wanted[:, :1], start), wanted[:, :-1]], dim=1)
            logits = model(input_ids=ids, attention_mask=seen, decoder_input_ids=read).logits.float()
            picked = torch.log_softmax(logits, dim=-1).gather(2, wanted[..., None])[..., 0] * real
            for row, total in zip(rows, picked.sum(1).tolist(), strict=True):
                scores[row] = total
    return Likelihood(scores, counts)


def _padded(rows: Sequence[list[int]], pad: int, device: Any) -> tuple[Any, Any]:
    """Ids and mask, both of shape ``[rows, longest]``, padded on the right."""
    import torch

    longest = max(map(len, rows))
    ids = torch.tensor([row + [pad] * (longest - len(row)) for row in rows], device=device)
    real = torch.tensor([[1] * len(row) + [0] * (longest - len(row)) for row in rows], device=device)
    return ids, real
