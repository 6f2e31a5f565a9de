"""Packing: short conversations share a row of ``seq_length`` tokens, so that little of a batch is padding.

TRL fills the rows, best fit first. Positions begin anew in each conversation; of them transformers makes a mask that is
block-diagonal, and flash attention, where it is there, the boundaries of a batch without padding. Whether a model keeps
conversations apart like that is tried before it is trained.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

from components.contract import Context
from components.conversations import Encoded
from components.training import choose_precision
from core.errors import InputProblem

_FLASH = "flash_attention_2"
# Of logits about their mean, the norm of what rounding may change. Where conversations see each other it is about 1.
_ROUNDING = {"fp32": 1e-3, "bf16": 0.1}
_TRIED = (9, 17)  # lengths in tokens


class Packed(NamedTuple):
    """Rows of several conversations each.

    Attributes:
        rows: ``input_ids`` and ``labels`` (``[tokens]``) and ``seq_lengths`` (``[conversations]``) of each row.
        lengths: of the rows, in tokens.
        conversations: in all rows.
        seq_length: of a full row.
    """

    rows: Any
    lengths: list[int]
    conversations: int
    seq_length: int

    @property
    def fullness(self) -> float:
        """Share of the rows' places that hold a token."""
        return sum(self.lengths) / (len(self.lengths) * self.seq_length)

    def report(self) -> dict[str, float]:
        return {
            "conversations": self.conversations,
            "rows": len(self.lengths),
            "seq_length": self.seq_length,
            "fullness": self.fullness,
        }


def pack(encoded: Encoded, seq_length: int) -> Packed:
    """The conversations in rows of at most ``seq_length`` tokens, none of them cut; none is longer than that."""
    from datasets import Dataset
    from trl import pack_dataset

    # A conversation's first token follows the end of another one in its row, which is not to predict it.
    labels = [[-100, *row[1:]] for row in encoded.labels()]
    conversations = Dataset.from_dict({"input_ids": encoded.input_ids, "labels": labels})
    # All at once: rows of one batch are not filled up with conversations of the next.
    rows = pack_dataset(conversations, seq_length, "bfd", {"batch_size": len(labels), "keep_in_memory": True})
    return Packed(rows, [sum(each) for each in rows["seq_lengths"]], len(labels), seq_length)


def require(context: Context, model: Any) -> None:
    """Raise an :class:`InputProblem` if ``model`` does not compute for two conversations in a row what it computes for
    each by itself: its attention takes no mask of blocks, or it has a memory that runs through the whole row."""
    import torch

    size = model.get_input_embeddings().weight.shape[0]
    parts = [torch.arange(1, length + 1)[None] * 7919 % size for length in _TRIED]
    places = [torch.arange(length)[None] for length in _TRIED]
    precision = choose_precision(context.parameters.precision).name
    at = model.device
    model.eval()
    products = torch.autocast(at.type, torch.bfloat16, enabled=precision == "bf16")
    with _attention(model, precision), torch.no_grad(), products:
        alone = [model(input_ids=ids.to(at), use_cache=False).logits for ids in parts]
        ids, positions = torch.cat(parts, 1).to(at), torch.cat(places, 1).to(at)
        try:
            together = model(input_ids=ids, position_ids=positions, use_cache=False).logits
        except TypeError:  # it takes no positions
            together = model(input_ids=ids, use_cache=False).logits
    wanted = torch.cat(alone, 1).float()
    spread = (wanted - wanted.mean(-1, keepdim=True)).norm()
    if (together.float() - wanted).norm() > _ROUNDING[precision] * spread:
        raise InputProblem(
            f"models/base: in a model of type {model.config.model_type} the conversations of a row would see each "
            "other: set instruct_finetune.packing to none"
        )


@contextmanager
def training(context: Context, tokenizer: Any, model: Any) -> Iterator[tuple[type, dict[str, Any]]]:
    """The trainer of packed rows and its settings, for a model that within the block attends as fast as it can."""
    from trl import SFTTrainer
    from trl.trainer.sft_trainer import DataCollatorForLanguageModeling

    class Rows(DataCollatorForLanguageModeling):  # type: ignore[misc]
        """Rows side by side, the shorter ones padded, with positions and without a mask of their padding.

        With that mask transformers would take a row for one conversation. Nothing looks at what it hides: every place
        of the padding has position 0, and so is a conversation of its own, without a label.
        """

        def torch_call(self, examples: list[dict[str, Any]]) -> dict[str, Any]:
            batch: dict[str, Any] = super().torch_call(examples)
            del batch["attention_mask"]
            return batch

    class PackedTrainer(SFTTrainer):  # type: ignore[misc]
        """TRL's trainer, which without a mask counts the tokens of a batch as if it had one row."""

        def compute_loss(self, model: Any, inputs: dict[str, Any], *args: Any, **kwargs: Any) -> Any:
            rows, length = inputs["position_ids"].shape
            self._total_train_tokens += (rows - 1) * length * self.accelerator.num_processes
            return super().compute_loss(model, inputs, *args, **kwargs)

    with _attention(model, choose_precision(context.parameters.precision).name) as name:
        if name == _FLASH:  # in one row without padding
            rows = DataCollatorForLanguageModeling(tokenizer.pad_token_id, padding_free=True)
        else:
            rows = Rows(tokenizer.pad_token_id, return_position_ids=True)
        yield PackedTrainer, {"data_collator": rows}


@contextmanager
def _attention(model: Any, precision: str) -> Iterator[str]:
    """Flash attention, which costs what the conversations by themselves do, where it is installed: on GPUs in bf16."""
    import torch
    from transformers.utils import is_flash_attn_2_available

    usual = model.config._attn_implementation
    if not (torch.cuda.is_available() and precision == "bf16" and is_flash_attn_2_available()):
        yield usual
        return
    model.set_attn_implementation(_FLASH)
    try:
        yield _FLASH
    finally:
        model.set_attn_implementation(usual)
