"""Parameters of the tokenize stage."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from components.contract import StageParameters
from components.engine.parameters import EngineParameters
from components.tokenize.mixture_parameters import MixtureParameters

PARENT = "parent"  # the tokenizer of the model that pretrain.init names
BYTES = 256
SPECIAL_TOKENS = 5


class TokenizeParameters(StageParameters):
    """Where the tokenizer comes from, and how the corpus is packed."""

    tokenizer: str | None = Field(
        default=None,
        min_length=1,
        description="An existing tokenizer to use: 'parent' for that of the model that pretrain.init names, left as it "
        "is; or a local Hugging Face folder, a .model file of SentencePiece, or a hub id. Null: train one.",
    )
    model: Literal["bpe", "unigram", "sentencepiece_bpe"] = Field(
        default="bpe",
        description="What is trained. bpe: byte-level BPE; unigram, sentencepiece_bpe: SentencePiece's models of "
        "characters, the rare ones as bytes. Unused with an existing tokenizer.",
    )
    vocabulary_size: int = Field(
        default=2048,
        ge=BYTES + SPECIAL_TOKENS,
        le=1_000_000,
        description="Entries of the trained vocabulary: 256 bytes, 5 special tokens and the merges or pieces. "
        "A small corpus may yield fewer. Unused with an existing tokenizer.",
    )
    min_frequency: int = Field(
        default=2, ge=1, le=1_000_000, description="Occurrences a pair needs before it is merged; of model: bpe."
    )
    training_bytes: int = Field(
        default=1_000_000_000,
        ge=1_000,
        description="Bytes of text that the tokenizer is trained on, from the start of the training split. "
        "SentencePiece's models hold them in memory.",
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
    packing: Literal["concatenate", "best_fit"] = Field(
        default="concatenate",
        description="How documents become training sequences. concatenate: one after the other, a sequence begins and "
        "ends where it happens to; best_fit: only documents longer than a sequence are divided, and what stays free "
        "is padding (Ding et al. 2024).",
    )
    seq_length: int | None = Field(
        default=None,
        ge=8,
        le=1_048_576,
        description="Tokens of a training sequence that best_fit packs for: those of pretrain.seq_length.",
    )
    bos: bool = Field(
        default=False,
        description="Every document begins with the tokenizer's bos_token; where that is its eos_token, the one that "
        "ends the document before it does.",
    )
    mixture: MixtureParameters | None = Field(
        default=None,
        description="How often the training documents of each source, language or kind are taken; null: each once.",
    )
    engine: EngineParameters = Field(
        default=EngineParameters(), description="Where the corpus is encoded; decides nothing about the result."
    )

    @model_validator(mode="after")
    def _best_fit_has_a_length(self) -> TokenizeParameters:
        if (self.packing == "best_fit") != (self.seq_length is not None):
            raise ValueError(
                "packing best_fit packs for a seq_length: set it to pretrain.seq_length"
                if self.seq_length is None
                else "seq_length is best_fit's: make it null, or packing best_fit"
            )
        return self
