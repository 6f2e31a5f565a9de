"""The ``retrain`` section of ``params.yaml``: when to look for new data, where, and what to make of it."""

from __future__ import annotations

import re
from typing import Any, Literal
from zoneinfo import ZoneInfo

from pydantic import BaseModel, ConfigDict, Field, field_validator

_START = r"^(champion|finetune|scratch|[A-Za-z0-9_.\-]+(:[0-9]+|@[A-Za-z0-9_.\-]+))$"
_FOLDER = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
FROZEN = "held_out"  # below data/raw: the test split of the first champion, kept for all that follow


class PolledSource(BaseModel):
    """A place outside the workspace that is looked at; new and changed files are copied into ``data/raw``."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    path: str = Field(
        min_length=1,
        description="A folder (all files below it), a file, or a glob (`**` crosses folders); relative ones start at "
        "the workspace.",
    )
    into: str = Field(description="Folder below data/raw that takes copies of its files; name it in curate.sources.")

    @field_validator("into")
    @classmethod
    def _one_folder(cls, value: str) -> str:
        if not _FOLDER.fullmatch(value):
            raise ValueError("must be one folder's name: letters, digits, '-', '_' and '.', a letter or digit first")
        if value == FROZEN:
            raise ValueError(f"data/raw/{FROZEN} is where retraining keeps the held-out set; choose another name")
        return value


class RetrainParameters(BaseModel):
    """The ``retrain`` section of ``params.yaml``."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    cron: str | None = Field(
        None, description="When the deployment looks for new data, such as `0 3 * * *`; null: on events only."
    )
    timezone: str = Field("UTC", description="Time zone of cron, such as Europe/Berlin.")
    minimum_documents: int = Field(
        1, ge=1, description="New documents that it takes: rows of jsonl, csv and parquet, whole files of text."
    )
    sources: tuple[PolledSource, ...] = Field(
        (), description="Places outside the workspace to look at; data/raw itself always is."
    )
    model: str = Field(
        "base", min_length=1, description="The registered model whose champion says what data is known already."
    )
    start: str = Field(
        "champion",
        pattern=_START,
        description="champion: pretraining goes on from the champion's weights; finetune: the decoder stays the "
        "champion and only what is made of it is trained again; scratch: from new weights; or a version of any "
        "registered model, as MODEL@ALIAS or MODEL:VERSION, from which pretraining goes on.",
    )
    held_out: Literal["frozen", "fresh"] = Field(
        "frozen",
        description="frozen: the test split stays that of the first champion, document by document; fresh: it is "
        "divided anew with the new data.",
    )
    parameters: dict[str, Any] = Field(
        {}, description="Parameters of these runs by dotted path, such as {pretrain.steps: 200}."
    )

    @field_validator("cron")
    @classmethod
    def _readable(cls, value: str | None) -> str | None:
        if value is not None:
            from datetime import UTC, datetime

            from cronsim import CronSim, CronSimError

            try:
                CronSim(value, datetime.now(UTC))
            except CronSimError:
                raise ValueError("is no cron expression; write five fields, such as `0 3 * * *`") from None
        return value

    @field_validator("timezone")
    @classmethod
    def _known(cls, value: str) -> str:
        try:
            ZoneInfo(value)
        except (KeyError, ValueError, OSError):
            raise ValueError("is no time zone; write one such as UTC or Europe/Berlin") from None
        return value

    @field_validator("sources")
    @classmethod
    def _apart(cls, sources: tuple[PolledSource, ...]) -> tuple[PolledSource, ...]:
        names = [source.into for source in sources]
        if twice := sorted({name for name in names if names.count(name) > 1}):
            raise ValueError(f"two sources go into {', '.join(twice)}, where their files could collide; rename one")
        return sources

    @field_validator("parameters")
    @classmethod
    def _of_stages(cls, parameters: dict[str, Any]) -> dict[str, Any]:
        closed = ("retrain", "notifications", "promotion", "signing", "cost")
        if wrong := sorted(path for path in parameters if path.split(".")[0] in closed):
            raise ValueError(f"{', '.join(wrong)}: only parameters of stages can be set for a run")
        return parameters
