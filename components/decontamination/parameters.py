"""Parameters of decontamination."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from components.contract import StageParameters


class OverlapRules(StageParameters):
    """When a training text overlaps with an item of an evaluation set; an equal text always does."""

    ngram_words: int | None = Field(
        13, ge=4, le=50, description="It shares so many words in a row with the item (GPT-3: 13); null: not asked."
    )
    common_documents: int | None = Field(
        10,
        ge=1,
        description="A run of words in more training texts than these is boilerplate and no overlap (GPT-3: 10); "
        "null: every run counts.",
    )
    coverage_words: int = Field(8, ge=4, le=50, description="Length of the runs that coverage counts (PaLM: 8).")
    coverage: float | None = Field(
        0.7,
        gt=0,
        le=1,
        description="It holds so large a share of the item's runs of words (PaLM: 0.7); null: not asked.",
    )


class DecontaminationParameters(StageParameters):
    """Training texts against the evaluation sets: the test splits made here, and the files of `against`."""

    action: Literal["remove", "refuse", "report", "none"] = Field(
        "report",
        description="With training texts that overlap: remove them | refuse (the stage stops and names them) | report "
        "them and leave them | none: do not look.",
    )
    rules: OverlapRules = Field(default_factory=OverlapRules, description="When two texts overlap.")
    against: tuple[str, ...] = Field(
        (),
        description="Globs under data/raw of more evaluation sets (txt, md, jsonl, json, csv, tsv, parquet): every "
        "text in them is compared.",
    )
