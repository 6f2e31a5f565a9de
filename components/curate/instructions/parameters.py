"""Parameters of the instruction and preference data: questions about signatures, or the user's own files."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import Field, model_validator

from components.contract import StageParameters


class InstructionShares(StageParameters):
    """Shares of the groups (parameter lists, or prompts of user files) outside instruct; the rest is instruct."""

    reward: float = Field(0.09, gt=0, lt=1, description="prompts whose sampled answers train the reward model")
    preference: float = Field(0.09, gt=0, lt=1, description="fresh prompts for preference tuning")
    development: float = Field(0.06, gt=0, lt=1, description="prompts that choices are made on")
    test: float = Field(0.13, gt=0, lt=1, description="prompts that results are reported on")

    @model_validator(mode="after")
    def _leave_room(self) -> Self:
        if sum(self.model_dump().values()) >= 0.9:
            raise ValueError("the shares must sum to less than 0.9: what remains is the instruct training data")
        return self


class InstructionQuestions(StageParameters):
    """How many questions the ``signatures`` source asks in each split (fewer where the library has no more)."""

    instruct: int = Field(16_000, ge=1, description="questions to fine-tune on")
    reward: int = Field(1_500, ge=1, description="questions for the reward model")
    preference: int = Field(1_500, ge=1, description="questions for preference tuning")
    development: int = Field(500, ge=1, description="questions to choose on")
    test: int = Field(1_000, ge=1, description="questions to report on")


class InstructionFiles(StageParameters):
    """Globs of the user's files (jsonl, json, csv, parquet), relative to the workspace; form detected per file."""

    instruct: list[str] = Field([], description="answers to fine-tune on")
    reward: list[str] = Field([], description="prompts or ranked pairs for the reward model")
    preference: list[str] = Field([], description="prompts or ranked pairs for preference tuning")
    development: list[str] = Field([], description="rows to choose on")
    test: list[str] = Field([], description="rows to report on")
    max_broken_share: float = Field(0.01, ge=0, lt=1, description="share of a file's rows that may be unusable")


class InstructionsParameters(StageParameters):
    """Instruction data: ``signatures`` of the running interpreter's standard library, or the user's ``files``."""

    source: Literal["signatures", "files"] = Field("signatures", description="where the questions come from")
    shares: InstructionShares = Field(InstructionShares(), description="shares of the splits")
    questions: InstructionQuestions = Field(InstructionQuestions(), description="sizes of the splits (signatures)")
    questions_per_function: int = Field(8, ge=1, le=50, description="most questions about one function")
    functions_per_list: int = Field(
        2, ge=1, le=20, description="most functions with one parameter list in instruct; other splits take one"
    )
    common_list: int = Field(
        8, ge=1, description="lists of more functions than this are instruct's, so that few docstrings are held out"
    )
    largest_answer_share: float = Field(
        0.3, gt=0, le=0.5, description="most that one answer may make up of its kind (yes/no kinds are halved)"
    )
    chatty_share: float = Field(0.5, ge=0, le=1, description="share of instruct answers in the chatty style")
    renderings: int = Field(2, ge=0, le=2, description="renderings of instruct questions in the pretraining mix")
    max_prompt_characters: int = Field(160, ge=60, le=2000, description="questions with longer prompts are left out")
    max_answer_characters: int = Field(40, ge=5, le=500, description="questions with longer answers are left out")
    files: InstructionFiles = Field(InstructionFiles(), description="the user's files (source: files)")

    @model_validator(mode="after")
    def _name_files(self) -> Self:
        if self.source == "files" and not self.files.instruct:
            raise ValueError("source is files, but files.instruct names none: give at least one glob there")
        return self
