"""instruct_finetune: a base model learns to answer, from demonstrations."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from components.contract import ArtifactSpec, Component
from components.finetuning.parameters import FineTuningParameters, GenerationParameters
from components.finetuning.records import has_no_rows


class InstructFinetuneParameters(FineTuningParameters):
    """Supervised fine-tuning on demonstrations."""

    template: Literal["chat", "alpaca"] = Field(
        default="chat",
        description="How the model sees questions: the tokenizer's own chat template, or Alpaca's prompt",
    )
    train_on: Literal["all", "last"] = Field(
        default="all", description="Which answers of a conversation are learnt: all of them, or the last one"
    )
    too_long: Literal["fail", "skip", "truncate"] = Field(
        default="fail",
        description="What to do with rows longer than the model's context: fail, skip, or truncate them at its end "
        "(counted and reported; a row whose answers would be cut off as a whole is left out)",
    )
    packing: Literal["none", "best_fit"] = Field(
        default="none",
        description="best_fit: short conversations share rows of seq_length tokens and none sees another; "
        "per_device_batch_size then counts rows. none: each is a row, with others of like length",
    )
    generation: GenerationParameters = Field(default=GenerationParameters(), description="How answers are generated")

    def problems(self) -> list[str]:
        found = super().problems()
        if self.packing != "none" and self.seq_length is None:
            found.append(f"packing {self.packing} fills rows of seq_length tokens, and seq_length is null: set it")
        return found


component = Component(
    name="instruct_finetune",
    version="1.0.0",
    summary="A model that answers instructions: supervised fine-tuning with the loss on the answers alone.",
    parameters=InstructFinetuneParameters,
    inputs=(
        ArtifactSpec("base", "models/base", "model", "base"),
        ArtifactSpec("instructions", "data/instructions", "dataset", "instructions"),
    ),
    outputs=(
        ArtifactSpec("model", "models/instruct", "model", "instruct", registered_model="instruct"),
        ArtifactSpec("report", "reports/instruct_finetune", "report", "report"),
    ),
    processes=lambda parameters: parameters.processes,
    resumable=True,
    nothing_to_do=lambda _, inputs: "no instructions" if has_no_rows(inputs["instructions"], "instruct") else None,
)
