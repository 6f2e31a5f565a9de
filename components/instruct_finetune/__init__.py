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
    evaluate_every: int | None = Field(
        default=None,
        ge=1,
        le=100_000_000,
        description="Steps between measurements of the loss on development questions, of which the best weights are "
        "kept. Null: it is measured before and after alone.",
    )
    evaluation_examples: int = Field(
        default=200, ge=1, le=1_000_000, description="Most development questions of these measurements"
    )
    patience: int | None = Field(
        default=None,
        ge=1,
        le=10_000,
        description="Measurements without a better one after which the training ends. Null: it ends with its steps.",
    )
    generation: GenerationParameters = Field(default=GenerationParameters(), description="How answers are generated")

    def problems(self) -> list[str]:
        found = super().problems()
        if self.patience is not None and self.evaluate_every is None:
            found.append("patience counts measurements, and evaluate_every is null: set it")
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
