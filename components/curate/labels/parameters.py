"""Parameters of the labelled data for classification: a task's labels of the corpus, or the user's own files."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import Field, model_validator

from components.tasks.curation import LabelTask, LabelTasks


class LabelsParameters(LabelTasks):
    """Labelled texts: of a task (``topics``: docstring -> topic of its module), the user's ``files``, or ``none``."""

    source: Literal[LabelTask, "files", "none"] = Field("topics", description="where texts and labels come from")
    validation_share: float = Field(0.1, gt=0, lt=0.5, description="share of the texts to choose on")
    test_share: float = Field(0.2, gt=0, lt=0.5, description="share of the texts to report on")
    files: list[str] = Field(
        [], description="globs of csv, jsonl, json or parquet files, relative to the workspace (source: files)"
    )
    text_column: str = Field("text", min_length=1, description="column that holds the text (files)")
    label_column: str = Field("label", min_length=1, description="column that holds the label (files)")
    max_broken_share: float = Field(0.01, ge=0, lt=1, description="share of a file's rows that may be unusable")

    @model_validator(mode="after")
    def _name_files(self) -> Self:
        if self.source == "files" and not self.files:
            raise ValueError("source is files, but files names none: give at least one glob there")
        return self
