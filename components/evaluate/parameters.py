"""Parameters of evaluate."""

from __future__ import annotations

from pydantic import Field, field_validator

from components.contract import StageParameters
from components.evaluate.judge.parameters import JudgeParameters


class HeldOutParameters(StageParameters):
    """Loss on the corpus's test split, and the n-gram baselines."""

    documents: int = Field(
        default=1000, ge=1, description="Documents of the test split to score; a sample if it has more."
    )
    context: int | None = Field(
        default=None, ge=8, description="Tokens in a scoring window; null: as many as the model was made for."
    )
    baseline_documents: int = Field(
        default=50_000, ge=1, description="Documents of the train split to count n-grams in; a sample if it has more."
    )
    baseline_order: int = Field(
        default=5, ge=2, le=8, description="Length of the longest n-gram of the back-off baseline."
    )


class AnswerParameters(StageParameters):
    """Greedy answers to the test instructions, judged by the verifier."""

    prompts: int = Field(default=1000, ge=1, description="Test instructions to answer; a sample if there are more.")
    max_new_tokens: int = Field(default=32, ge=1, le=4096, description="Longest answer, in tokens.")
    batch_size: int = Field(default=128, ge=1, description="Answers generated side by side.")
    examples: int = Field(default=12, ge=0, le=200, description="Answers shown on the report page.")


class SampleParameters(StageParameters):
    """Continuations of fixed prompts, to read rather than to count."""

    prompts: tuple[str, ...] = Field(
        default=("Return the", "This module", "Raised when", "The default is"),
        description="Beginnings of documents that every model continues.",
    )
    max_new_tokens: int = Field(default=40, ge=1, le=4096, description="Length of a continuation, in tokens.")
    temperature: float = Field(default=0.8, ge=0, le=5, description="Of the sampling; 0 takes the most probable token.")


class LmEvalParameters(StageParameters):
    """Tasks run by the lm-evaluation-harness."""

    tasks: tuple[str, ...] = Field(
        default=("instruction_choice", "heldout_documents"),
        description="Names of tasks: the two built here, those found under include_path, or the harness's own.",
    )
    include_path: str | None = Field(
        default=None, description="Folder with your own task files (YAML), relative to the workspace; null: none."
    )
    limit: int = Field(default=300, ge=1, description="Most items of a task to run.")
    batch_size: int = Field(default=64, ge=1, description="Items scored side by side.")

    @field_validator("tasks")
    @classmethod
    def _once_each(cls, tasks: tuple[str, ...]) -> tuple[str, ...]:
        twice = sorted({task for task in tasks if tasks.count(task) > 1})
        if twice:
            raise ValueError(f"name each task once; named twice: {', '.join(twice)}")
        return tasks


class EvaluateParameters(StageParameters):
    """How models are measured. One section serves the base, the instruct and the assistant model."""

    held_out: HeldOutParameters = Field(default=HeldOutParameters(), description="Loss on held-out documents.")
    answers: AnswerParameters = Field(default=AnswerParameters(), description="Answers to held-out instructions.")
    samples: SampleParameters = Field(default=SampleParameters(), description="Continuations of fixed prompts.")
    lm_eval: LmEvalParameters = Field(default=LmEvalParameters(), description="lm-evaluation-harness.")
    judge: JudgeParameters | None = Field(
        default=None, description="A language model that judges the answers of models that chat; null: none."
    )
