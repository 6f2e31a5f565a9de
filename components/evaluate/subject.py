"""What is being measured, as it is handed to each part of the evaluation."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from components.contract import Context, Interrupted
from components.evaluate.items import Item
from components.finetuning import families
from components.finetuning.models import context_length, give_padding, load_causal, load_tokenizer
from components.finetuning.sequences import load_encoder_decoder
from components.generation import AnswerBatch, Run, generate

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase


MODEL_COLOUR, BASELINE_COLOURS = "#2f5d8a", ("#b7c4d1", "#8f9ba8", "#d7dde5")  # of the report's pictures


def load(folder: Path) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """A model as it is measured, and its tokenizer."""
    tokenizer = load_tokenizer(folder)
    if families.require(folder, "evaluate").kind == "decoder":
        return load_causal(folder, dtype="auto").eval(), tokenizer
    give_padding(tokenizer, folder)
    return load_encoder_decoder(folder, dtype="auto").eval(), tokenizer


def _generated(loaded: tuple[PreTrainedModel, PreTrainedTokenizerBase], batch: AnswerBatch) -> list[str]:
    return generate(*loaded, batch)


@dataclass(frozen=True)
class Subject:
    """A model under measurement, and where its metrics go.

    Attributes:
        context: of the stage: metrics are recorded there.
        model: in eval mode, on its device.
        headline: name of the metric for the run's last screen.
        chat: it has learnt turns, so questions go to it in its chat template.
        items: what it got for every item so far; each part adds its own.
        replies: its answers to the test instructions, in their order, once they were asked.
    """

    context: Context
    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase
    headline: str
    chat: bool
    items: list[Item] = field(default_factory=list)
    replies: list[str] = field(default_factory=list)

    @property
    def name(self) -> str:
        """Which of the models it is: the stage's instance."""
        return str(self.context.instance)

    @property
    def window(self) -> int:
        """Tokens the model was made for."""
        return context_length(self.model, self.tokenizer)

    def spread(self, function: Callable[[Any, Any], Any], shares: Iterable[Any]) -> Iterator[Any]:
        """``function`` of model and tokenizer and each share, by copies on a cluster, which there must be."""
        assert self.context.spread is not None
        return self.context.spread(load, self.context.inputs["model"], function, shares)

    @property
    def generation(self) -> Run | None:
        """What generates batches in this process's place."""
        if self.context.spread is None:
            return None
        return lambda batches: enumerate(self.spread(_generated, batches))

    def raise_if_stopping(self) -> None:
        """Nothing here is worth a checkpoint: the stage takes seconds and starts over."""
        if self.context.stopping:
            raise Interrupted("evaluate was stopped")
