"""Parameters of instruct_finetune."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from components.contract import StageParameters
from components.finetuning.parameters import TOO_LONG, GenerationParameters, TooLong, TrainingParameters


class InstructFinetuneParameters(StageParameters):
    """Supervised fine-tuning on demonstrations."""

    template: Literal["chat", "alpaca"] = Field(
        "chat", description="How the model sees questions: the tokenizer's own chat template, or Alpaca's prompt"
    )
    too_long: TooLong = Field("fail", description=TOO_LONG)
    processes: int = Field(1, ge=1, le=1024, description="Processes that train together, one a device")
    training: TrainingParameters = Field(TrainingParameters(), description="How long and how fast to train")
    generation: GenerationParameters = Field(GenerationParameters(), description="How answers are generated")
