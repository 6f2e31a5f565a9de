"""Parameters of instruct_finetune."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from components.finetuning.parameters import TOO_LONG, FineTuningParameters, GenerationParameters, TooLong


class InstructFinetuneParameters(FineTuningParameters):
    """Supervised fine-tuning on demonstrations."""

    template: Literal["chat", "alpaca"] = Field(
        "chat", description="How the model sees questions: the tokenizer's own chat template, or Alpaca's prompt"
    )
    too_long: TooLong = Field("fail", description=TOO_LONG)
    generation: GenerationParameters = Field(GenerationParameters(), description="How answers are generated")
