"""Evaluate: what a model can do, measured on data it never saw, beside honest baselines."""

from components.contract import ArtifactSpec, Component
from components.evaluate.parameters import EvaluateParameters

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
)
