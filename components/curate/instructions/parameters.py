"""Parameters of the instruction and preference data: a task's questions, or the user's own files."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import Field, model_validator

from components.contract import StageParameters
from components.tasks.curation import InstructionTask, InstructionTasks


class InstructionShares(StageParameters):
    """Shares of the groups (a task's own, or prompts of user files) outside instruct; the rest is instruct."""

    reward: float = Field(0.09, gt=0, lt=1, description="prompts whose sampled answers train the reward model")
    preference: float = Field(0.09, gt=0, lt=1, description="fresh prompts for preference tuning")
    development: float = Field(0.06, gt=0, lt=1, description="prompts that choices are made on")
    test: float = Field(0.13, gt=0, lt=1, description="prompts that results are reported on")

    @model_validator(mode="after")
    def _leave_room(self) -> Self:
        if sum(self.model_dump().values()) >= 0.9:
            raise ValueError("the shares must sum to less than 0.9: what remains is the instruct training data")
        return self


class InstructionFiles(StageParameters):
    """Globs of the user's files (jsonl, json, csv, parquet), relative to the workspace; form detected per file."""

    instruct: list[str] = Field([], description="answers to fine-tune on")
    reward: list[str] = Field([], description="prompts or ranked pairs for the reward model")
    preference: list[str] = Field([], description="prompts or ranked pairs for preference tuning")
    development: list[str] = Field([], description="rows to choose on")
    test: list[str] = Field([], description="rows to report on")
    max_broken_share: float = Field(0.01, ge=0, lt=1, description="share of a file's rows that may be unusable")


class InstructionsParameters(InstructionTasks):
    """Instruction data: of a task that Stemma makes itself (``signatures``), or the user's ``files``."""

    source: Literal[InstructionTask, "files"] = Field("signatures", description="where the questions come from")
    shares: InstructionShares = Field(InstructionShares(), description="shares of the splits")
    files: InstructionFiles = Field(InstructionFiles(), description="the user's files (source: files)")

    @model_validator(mode="after")
    def _name_files(self) -> Self:
        if self.source == "files" and not self.files.instruct:
            raise ValueError("source is files, but files.instruct names none: give at least one glob there")
        return self
