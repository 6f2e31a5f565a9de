"""What is being measured, as it is handed to each part of the evaluation."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from components.contract import Context, Interrupted
from components.evaluate.items import Item
from components.finetuning.models import context_length

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase


MODEL_COLOUR, BASELINE_COLOURS = "#2f5d8a", ("#b7c4d1", "#8f9ba8", "#d7dde5")  # of the report's pictures


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

    def raise_if_stopping(self) -> None:
        """Nothing here is worth a checkpoint: the stage takes seconds and starts over."""
        if self.context.stopping:
            raise Interrupted("evaluate was stopped")
