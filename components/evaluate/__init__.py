"""Evaluate: what a model can do, measured on data it never saw, beside honest baselines."""

import json
from collections.abc import Mapping
from pathlib import Path

from components.contract import ArtifactSpec, Component
from components.evaluate.parameters import EvaluateParameters
from components.finetuning.records import has_no_rows
from core.errors import InputProblem


def _nothing_to_measure(_: EvaluateParameters, inputs: Mapping[str, Path]) -> str | None:
    if has_no_rows(inputs["instructions"], "test"):
        import pyarrow.parquet as pq

        if not any(pq.read_metadata(path).num_rows for path in inputs["corpus"].glob("test-*.parquet")):
            return "no held-out documents and no test instructions"
    return _no_decoder(inputs["model"])


def _no_decoder(folder: Path) -> str | None:
    """Why a model cannot be measured as one that writes text; the stage that made it has its own metrics."""
    try:
        config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
        if any(str(name).endswith(("ForCausalLM", "LMHeadModel")) for name in config.get("architectures") or ()):
            return None  # without the tables of transformers, which take a second to import
        from components.finetuning.families import classify

        kind = classify(config, str(folder)).kind
    except (OSError, ValueError, AttributeError, KeyError, InputProblem):
        return None  # the stage says what is wrong
    return None if kind == "decoder" else f"models/{folder.name} is no decoder, and only those are measured here"


component = Component(
    name="evaluate",
    version="1.0.0",
    summary="Measure a model on held-out documents and instructions, beside n-gram, majority and rule baselines.",
    parameters=EvaluateParameters,
    inputs=(
        ArtifactSpec("model", "models/{instance}", "model", "{instance}"),
        ArtifactSpec("corpus", "data/corpus", "dataset", "eval_set"),
        ArtifactSpec("instructions", "data/instructions", "dataset", "eval_set"),
    ),
    outputs=(ArtifactSpec("report", "reports/evaluate-{instance}", "report", "report"),),
    instances=("base", "instruct", "assistant"),
    nothing_to_do=_nothing_to_measure,
)
