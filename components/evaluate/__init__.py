"""Evaluate: what a model can do, measured on data it never saw, beside honest baselines."""

from collections.abc import Mapping
from pathlib import Path

from components.contract import ArtifactSpec, Component
from components.evaluate.judge import parameters as judge
from components.evaluate.parameters import EvaluateParameters
from components.finetuning.families import unsuited
from components.finetuning.records import has_no_rows


def _nothing_to_measure(_: EvaluateParameters, inputs: Mapping[str, Path]) -> str | None:
    if has_no_rows(inputs["instructions"], "test"):
        import pyarrow.parquet as pq

        if not any(pq.read_metadata(path).num_rows for path in inputs["corpus"].glob("test-*.parquet")):
            return "no held-out documents and no test instructions"
    return unsuited(inputs["model"], "evaluate")


def _problems(parameters: EvaluateParameters, root: Path, _: Mapping[str, str]) -> list[str]:
    problems = judge.problems(parameters.judge, root) if parameters.judge is not None else []
    return problems + parameters.missing_files(root)


def _reads_raw(parameters: EvaluateParameters) -> bool:
    """Whether it reads the user's own files: benchmarks, checks of answers."""
    of_judge = parameters.judge is not None and parameters.judge.mt_bench is not None
    return bool(parameters.suites) or of_judge or any(check.type != "regex" for check in parameters.answers.checks)


component = Component(
    name="evaluate",
    version="1.0.0",
    summary="Measure a model on held-out documents and instructions, beside n-gram, majority and rule baselines.",
    parameters=EvaluateParameters,
    inputs=(
        ArtifactSpec("raw", "data/raw", "raw", "eval_set", optional=True, when=_reads_raw),
        ArtifactSpec("model", "models/{instance}", "model", "{instance}"),
        ArtifactSpec("corpus", "data/corpus", "dataset", "eval_set"),
        ArtifactSpec("instructions", "data/instructions", "dataset", "eval_set"),
    ),
    outputs=(ArtifactSpec("report", "reports/evaluate-{instance}", "report", "report"),),
    instances=("base", "instruct", "assistant"),
    spreads=True,
    nothing_to_do=_nothing_to_measure,
    check=_problems,
)
