"""Raw sources in; clean, deduplicated, split text, labels and instructions out."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from components.contract import ArtifactSpec, Component
from components.curate.files import remote, user_files
from components.curate.filters import spacy_words
from components.curate.parameters import CurateParameters
from core.errors import InputProblem


def _problems(parameters: CurateParameters, root: Path, digests: Mapping[str, str]) -> list[str]:
    paths = [path for source in parameters.sources if source.type == "files" for path in source.paths]
    found = user_files.problems(parameters, root) + remote.problems(paths, "curate.sources")
    found += spacy_words.problems(parameters.quality)
    if (parameters.classifiers or parameters.quality.perplexity) and (root / "data" / "raw").is_dir():
        from components.curate.filters import classifiers, perplexity  # numpy, only where it is used

        # (Where there is no such folder, they are still in DVC's cache.)
        try:
            classifiers.load(parameters.classifiers, root)
        except InputProblem as problem:
            found += problem.problems
        try:
            perplexity.load(parameters.quality.perplexity, root)
        except InputProblem as problem:
            found += problem.problems
    return found


component = Component(
    name="curate",
    version="1.0.0",
    summary="Raw sources to clean, deduplicated, split text, labels and instructions",
    parameters=CurateParameters,
    inputs=(ArtifactSpec("raw", "data/raw", "raw", "raw"),),
    outputs=(
        ArtifactSpec("corpus", "data/corpus", "dataset", "corpus"),
        ArtifactSpec("labels", "data/labels", "dataset", "labels"),
        ArtifactSpec("instructions", "data/instructions", "dataset", "instructions"),
        ArtifactSpec("report", "reports/curate", "report", "report"),
    ),
    check=_problems,
)
