"""Raw sources in; clean, deduplicated, split text, labels and instructions out."""

from __future__ import annotations

from components.contract import Artifact, Component
from components.curate.parameters import CurateParameters

component = Component(
    name="curate",
    version="1.0.0",
    summary="Raw sources to clean, deduplicated, split text, labels and instructions",
    parameters=CurateParameters,
    inputs=(Artifact("raw", "data/raw", "raw", "raw"),),
    outputs=(
        Artifact("corpus", "data/corpus", "dataset", "corpus"),
        Artifact("labels", "data/labels", "dataset", "labels"),
        Artifact("instructions", "data/instructions", "dataset", "instructions"),
        Artifact("report", "reports/curate", "report", "report"),
    ),
)
