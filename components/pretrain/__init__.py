"""Pretrain: a decoder trained from scratch, or on from existing weights, on the packed tokens."""

from components.contract import ArtifactSpec, Component
from components.pretrain import parent
from components.pretrain.parameters import PretrainParameters

component = Component(
    name="pretrain",
    version="1.0.0",
    summary="Train a decoder on the packed tokens.",
    parameters=PretrainParameters,
    inputs=(
        ArtifactSpec("tokens", "data/tokens", "dataset", "tokens"),
        ArtifactSpec("tokenizer", "models/tokenizer", "tokenizer", "tokenizer"),
        ArtifactSpec("parent", parent.FOLDER, "model", "parent", optional=True),
    ),
    outputs=(
        ArtifactSpec("model", "models/base", "model", "base", registered_model="base"),
        ArtifactSpec("report", "reports/pretrain", "report", "report"),
    ),
    processes=lambda parameters: parameters.processes if parameters.steps != 0 else 1,
    resumable=True,
    apart=True,
    check=parent.problems,
)
