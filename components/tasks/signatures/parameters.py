"""Parameters of the signature questions: how many, and which."""

from __future__ import annotations

from pydantic import Field

from components.contract import StageParameters


class QuestionCounts(StageParameters):
    """How many questions each split has (fewer where the library has no more)."""

    instruct: int = Field(16_000, ge=1, description="questions to fine-tune on")
    reward: int = Field(1_500, ge=1, description="questions for the reward model")
    preference: int = Field(1_500, ge=1, description="questions for preference tuning")
    development: int = Field(500, ge=1, description="questions to choose on")
    test: int = Field(1_000, ge=1, description="questions to report on")


class SignaturesParameters(StageParameters):
    """Questions about function signatures of the running interpreter's standard library."""

    questions: QuestionCounts = Field(QuestionCounts(), description="sizes of the splits")
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
