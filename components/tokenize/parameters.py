"""Parameters of the tokenize stage."""

from __future__ import annotations

from pydantic import Field

from components.contract import StageParameters

PARENT = "parent"  # the tokenizer of the model that pretrain.init names
BYTES = 256
SPECIAL_TOKENS = 5


class TokenizeParameters(StageParameters):
    """Where the tokenizer comes from, and how the corpus is packed."""

    tokenizer: str | None = Field(
        default=None,
        min_length=1,
        description="An existing tokenizer to use: 'parent' for that of the model that pretrain.init names, left as it "
        "is; or a local Hugging Face folder or a hub id. Null: train one.",
    )
    vocabulary_size: int = Field(
        default=2048,
        ge=BYTES + SPECIAL_TOKENS,
        le=1_000_000,
        description="Entries of the trained vocabulary: 256 bytes, 5 special tokens and the merges. "
        "A small corpus may yield fewer. Unused with an existing tokenizer.",
    )
    min_frequency: int = Field(
        default=2, ge=1, le=1_000_000, description="Occurrences a pair needs before it is merged."
    )
    training_bytes: int = Field(
        default=1_000_000_000,
        ge=1_000,
        description="Bytes of training text the merges are learned from, from the start of the split.",
    )
    batch_documents: int = Field(
        default=1024,
        ge=1,
        le=1_000_000,
        description="Documents encoded at a time, at most; a batch also ends after 4 MiB of text.",
    )
    shard_tokens: int = Field(
        default=100_000_000,
        ge=1_000,
        description="Tokens after which a new shard file is begun; documents are not divided between shards.",
    )
