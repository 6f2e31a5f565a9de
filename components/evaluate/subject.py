"""What is being measured, as the sections of the report are handed it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from components.contract import Context, Interrupted

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase


@dataclass(frozen=True)
class Subject:
    """A model under measurement, and where its metrics go.

    Attributes:
        context: of the stage: metrics are recorded there.
        model: in eval mode, on its device.
        headline: name of the metric for the run's last screen.
        chat: it has learnt turns, so questions go to it in its chat template.
    """

    context: Context
    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase
    headline: str
    chat: bool

    @property
    def window(self) -> int:
        """Tokens the model was made for."""
        return self.model.config.max_position_embeddings

    def stop_if_asked(self) -> None:
        """Nothing here is worth a checkpoint: the stage takes seconds and starts over."""
        if self.context.stopping:
            raise Interrupted("evaluate was asked to stop")
