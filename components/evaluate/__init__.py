"""Evaluate: what a model can do, measured on data it never saw, beside honest baselines."""

from components.contract import Artifact, Component
from components.evaluate.parameters import EvaluateParameters

component = Component(
    name="evaluate",
    version="1.0.0",
    summary="Measure a model on held-out documents and instructions, beside n-gram, majority and rule baselines.",
    parameters=EvaluateParameters,
    inputs=(
        Artifact("model", "models/{instance}", "model", "{instance}"),
        Artifact("corpus", "data/corpus", "dataset", "eval_set"),
        Artifact("instructions", "data/instructions", "dataset", "eval_set"),
    ),
    outputs=(Artifact("report", "reports/evaluate-{instance}", "report", "report"),),
    instances=("base", "instruct", "assistant"),
)
