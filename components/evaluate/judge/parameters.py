"""Parameters of the judge, and what is wrong with them before anything runs."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Literal

from pydantic import Field, field_validator

from components.contract import StageParameters, outside_raw


class JudgeParameters(StageParameters):
    """A language model that judges answers. Its key is named, never written: params.yaml is in git."""

    endpoint: str = Field(
        max_length=500, description="URL of a server of OpenAI's API, up to /v1; a gateway's is http://HOST:PORT/v1."
    )
    model: str = Field(min_length=1, max_length=200, description="Name of the judging model there.")
    api_key_variable: str | None = Field(
        default=None, pattern=r"^[A-Za-z_][A-Za-z0-9_]*$",
        description="Environment variable that holds the endpoint's key, such as OPENAI_API_KEY; null: no key.",
    )  # fmt: skip
    mode: Literal["score", "pairwise"] = Field(
        default="score",
        description="score: each answer by itself; pairwise: against the demonstrated answer, in both orders.",
    )
    scale: Literal[10, 100] = Field(default=10, description="Scores go from 1 to 10, or from 0 to 100.")
    prompts: int = Field(default=100, ge=1, description="Answers to judge; a sample if there are more.")
    mt_bench: str | None = Field(
        default=None,
        description="MT-Bench's question.jsonl, a path below data/raw: two turns, each scored 1 to 10; null: none.",
    )
    max_new_tokens: int = Field(default=512, ge=1, le=8192, description="Longest answer to MT-Bench, in tokens.")
    verdict_tokens: int = Field(default=1024, ge=1, le=32768, description="Longest verdict, in tokens.")
    timeout: float = Field(default=60.0, gt=0, le=3600, description="Seconds for one verdict, from first to last byte.")
    attempts: int = Field(default=3, ge=1, le=10, description="Times to ask before a verdict counts as failed.")
    concurrency: int = Field(default=4, ge=1, le=256, description="Requests at the same time.")
    min_judged: float = Field(
        default=0.9, gt=0, le=1, description="Share of answers that must have a verdict; with fewer there is no metric."
    )

    @field_validator("mt_bench")
    @classmethod
    def _is_versioned(cls, path: str | None) -> str | None:
        if path is not None and (problem := outside_raw(path)):
            raise ValueError(problem)
        return path

    @field_validator("endpoint")
    @classmethod
    def _is_address(cls, endpoint: str) -> str:
        import httpx

        try:
            url = httpx.URL(endpoint)
        except httpx.InvalidURL as error:
            raise ValueError(f"not a URL: {error}") from None
        if url.scheme not in ("http", "https") or not url.host:
            raise ValueError("give a URL that begins with http:// or https://, such as https://api.openai.com/v1")
        if url.userinfo or url.query or url.fragment:
            raise ValueError("give the URL alone; a key comes from the environment (api_key_variable)")
        return endpoint.rstrip("/")


def key_problems(parameters: JudgeParameters) -> list[str]:
    """What is wrong with the judge's key here."""
    variable = parameters.api_key_variable
    if variable is None or os.environ.get(variable, "").strip():
        return []
    return [
        f"evaluate.judge.api_key_variable: the environment variable {variable} is not set; set it to the key of "
        f"{parameters.endpoint}, or set the parameter to null if the endpoint needs none"
    ]


def problems(parameters: JudgeParameters, root: Path) -> list[str]:
    """What would keep the judge from working, as far as it can be known before the stage starts."""
    found = key_problems(parameters)
    if parameters.mt_bench is not None:
        from components.evaluate.judge.mt_bench_questions import read_questions

        found += read_questions(root / parameters.mt_bench, parameters.mt_bench).problems
    return found
