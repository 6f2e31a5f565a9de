"""Parameters of evaluate."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Literal, get_args

from pydantic import Field, field_validator, model_validator

from components.contract import StageParameters, outside_raw
from components.evaluate.benchmarks import BENCHMARKS, OLMES, find
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


class _Check(StageParameters):
    name: str = Field(pattern=r"^[a-z][a-z0-9_]*$", description="Name of its metric: small letters, digits and _.")
    higher_is_better: bool = Field(default=True, description="Whether more of it is better, for the gate.")

    @field_validator("name")
    @classmethod
    def _free(cls, name: str) -> str:
        if name in _TAKEN or name.startswith(("lm_eval_", "judge_", "mt_bench")):
            raise ValueError(f"{name} is the name of another metric of this stage")
        return name


class _FileCheck(_Check):
    path: str = Field(description="A file below data/raw.")

    @field_validator("path")
    @classmethod
    def _below_raw(cls, path: str) -> str:
        if problem := outside_raw(path):
            raise ValueError(problem)
        return path


class RegexCheck(_Check):
    """1 where a regular expression is found in the answer."""

    type: Literal["regex"] = "regex"
    pattern: str = Field(min_length=1, description="Of Python's re, searched for; ^ and $ for the whole answer.")

    @field_validator("pattern")
    @classmethod
    def _compiles(cls, pattern: str) -> str:
        try:
            re.compile(pattern)
        except re.error as error:
            raise ValueError(f"{pattern!r} is no regular expression: {error}") from None
        return pattern


class JsonSchemaCheck(_FileCheck):
    """1 where the answer is JSON that is valid under a schema."""

    type: Literal["json_schema"] = "json_schema"


class FunctionCheck(_FileCheck):
    """The number that a Python function ``score(record, answer)`` gives, in the sandbox."""

    type: Literal["function"] = "function"


Check = RegexCheck | JsonSchemaCheck | FunctionCheck
TextMetric = Literal["exact_match", "f1", "rouge_l", "bleu", "chrf"]
_TAKEN = {"accuracy", "correct_and_terse", "answer_loss", "bits_per_byte", "loss", "perplexity", *get_args(TextMetric)}


BatchSize = Annotated[int, Field(ge=1)] | Literal["auto"]
_AUTO = "auto: as many as take a quarter of the device's memory, fewer where it runs out"


class AnswerParameters(StageParameters):
    """Greedy answers to the test instructions, judged by the verifier, by likeness to a reference, by own checks."""

    prompts: int = Field(default=1000, ge=1, description="Test instructions to answer; a sample if there are more.")
    max_new_tokens: int = Field(default=32, ge=1, le=4096, description="Longest answer, in tokens.")
    batch_size: BatchSize = Field(default=128, description=f"Answers generated side by side; {_AUTO}.")
    examples: int = Field(default=12, ge=0, le=200, description="Answers shown on the report page.")
    text_metrics: tuple[TextMetric, ...] = Field(
        default=get_args(TextMetric), description="Of answers to rows that show an answer and have no verifier."
    )
    checks: tuple[Annotated[Check, Field(discriminator="type")], ...] = Field(
        default=(), description="Own checks of every answer: {type: regex | json_schema | function, name, ...}."
    )

    @field_validator("checks")
    @classmethod
    def _different(cls, checks: tuple[Check, ...]) -> tuple[Check, ...]:
        names = [check.name for check in checks]
        if twice := sorted({name for name in names if names.count(name) > 1}):
            raise ValueError(f"give each check a name of its own; named twice: {', '.join(twice)}")
        return checks


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
    batch_size: BatchSize = Field(default=64, description=f"Items scored side by side; {_AUTO}.")

    @field_validator("tasks")
    @classmethod
    def _once_each(cls, tasks: tuple[str, ...]) -> tuple[str, ...]:
        twice = sorted({task for task in tasks if tasks.count(task) > 1})
        if twice:
            raise ValueError(f"name each task once; named twice: {', '.join(twice)}")
        return tasks


_NAME = re.compile(r"[a-z][a-z0-9_]*")
HUB = "hub@"  # before the commit of a data set
_REVISION = re.compile(rf"{HUB}[0-9a-f]{{40}}")


class SuiteParameters(StageParameters):
    """Public benchmarks that are asked alike."""

    tasks: dict[str, str] = Field(
        description="Where each benchmark comes from: a file or folder below data/raw in its public form, or "
        "hub@REVISION, a commit of its data set on the Hugging Face hub."
    )
    chat: Literal["auto"] | bool = Field(
        default="auto", description="Ask in the model's chat template; auto: where the model has learnt turns."
    )
    fewshot: int | None = Field(default=None, ge=0, description="Examples before each item; null: the task's own.")
    limit: int | None = Field(default=None, ge=1, description="Most items of a task, its first; null: all.")
    batch_size: BatchSize = Field(default=16, description=f"Items scored or answered side by side; {_AUTO}.")
    max_new_tokens: int | None = Field(
        default=None, ge=1, description="Longest answer, in tokens; null: the task's own."
    )
    samples: int = Field(default=1, ge=1, description="Answers to each problem of HumanEval and MBPP, for pass@k.")
    temperature: float = Field(default=0.0, ge=0, le=5, description="Of these answers; several need one above 0.")

    @model_validator(mode="after")
    def _possible(self) -> SuiteParameters:
        problems = []
        for task, source in self.tasks.items():
            if not _NAME.fullmatch(task):
                problems.append(f"{task!r} is no name of a benchmark: small letters, digits and _")
            elif _REVISION.fullmatch(source):
                continue
            elif source.startswith("hub"):
                problems.append(f"{task}: pin the data set by its commit: hub@ and 40 hexadecimal digits")
            elif find(task) is None:
                problems.append(f"{task} cannot be read from files; these can: {', '.join(BENCHMARKS)}, {OLMES}…")
            elif problem := outside_raw(source):
                problems.append(f"{task}: {problem}")
        if self.fewshot and (whole := [task for task in self.tasks if task.startswith(OLMES)]):
            problems.append(f"{', '.join(whole)}: OLMES's requests hold their examples: leave fewshot out")
        if self.samples > 1 and self.temperature == 0:
            problems.append(f"{self.samples} samples at temperature 0 are all the same: set temperature, such as 0.8")
        if problems:
            raise ValueError("; ".join(problems))
        return self


class EvaluateParameters(StageParameters):
    """How models are measured. One section serves the base, the instruct and the assistant model."""

    held_out: HeldOutParameters = Field(default=HeldOutParameters(), description="Loss on held-out documents.")
    answers: AnswerParameters = Field(default=AnswerParameters(), description="Answers to held-out instructions.")
    samples: SampleParameters = Field(default=SampleParameters(), description="Continuations of fixed prompts.")
    lm_eval: LmEvalParameters = Field(default=LmEvalParameters(), description="lm-evaluation-harness.")
    judge: JudgeParameters | None = Field(
        default=None, description="A language model that judges the answers of models that chat; null: none."
    )
    suites: dict[str, SuiteParameters] = Field(
        default={}, description="Named sets of public benchmarks (docs/evaluate.md)."
    )

    @field_validator("suites")
    @classmethod
    def _named(cls, suites: dict[str, SuiteParameters]) -> dict[str, SuiteParameters]:
        if wrong := [name for name in suites if not _NAME.fullmatch(name)]:
            raise ValueError(f"names of suites have small letters, digits and _: {', '.join(wrong)}")
        return suites

    def missing_files(self, root: Path) -> list[str]:
        """A problem for each benchmark of the suites, and each check of answers, whose files are not there."""
        checks = [check for check in self.answers.checks if isinstance(check, _FileCheck)]
        return [
            f"evaluate.answers.checks: there is no {check.path}, which {check.name} needs"
            for check in checks
            if not (root / check.path).is_file()
        ] + [
            f"evaluate.suites.{name}.tasks.{task}: there is no {source}; it is read from {benchmark.files}"
            for name, suite in self.suites.items()
            for task, source in suite.tasks.items()
            if not source.startswith(HUB) and not (root / source).exists() and (benchmark := find(task))
        ]
