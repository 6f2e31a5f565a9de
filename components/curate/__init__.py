"""Raw sources in; clean, deduplicated, split text, labels and instructions out."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from components.contract import Artifact, Component
from components.curate import user_files
from components.curate.parameters import CurateParameters


def _problems(parameters: CurateParameters, root: Path, digests: Mapping[str, str]) -> list[str]:
    return user_files.problems(parameters, root)


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
    check=_problems,
)
