"""Tokenize: a byte-level BPE tokenizer, and the corpus packed into a few large token shards."""

from components.contract import ArtifactSpec, Component
from components.tokenize.parameters import PARENT, TokenizeParameters

component = Component(
    name="tokenize",
    version="1.0.0",
    summary="Train or load a tokenizer and pack the corpus into token shards.",
    parameters=TokenizeParameters,
    inputs=(
        ArtifactSpec("corpus", "data/corpus", "dataset", "corpus"),
        ArtifactSpec(
            "parent", "models/parent", "model", "parent", optional=True, when=lambda given: given.tokenizer == PARENT
        ),
    ),
    outputs=(
        ArtifactSpec("tokenizer", "models/tokenizer", "tokenizer", "tokenizer"),
        ArtifactSpec("tokens", "data/tokens", "dataset", "tokens"),
        ArtifactSpec("report", "reports/tokenize", "report", "report"),
    ),
)
