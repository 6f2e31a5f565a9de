"""The gate: whether a version may take an alias. Every check is kept, passed or not.

A candidate is judged against the thresholds of ``params.yaml`` and, where somebody holds the alias, against that
version on the same evaluation sets. A worsening within 1.96 standard errors of the difference is noise and passes.
"""

from __future__ import annotations

import hashlib
import json
import math
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from sqlalchemy.orm import Session

from registry.lineage import MetricView, metrics_of, trace
from registry.parameters import MetricRule, PromotionParameters
from registry.schema import ModelVersion

NOISE = 1.96  # standard errors; two-sided 95 % of a normal distribution
UNSAFE_SUFFIXES = frozenset({".bin", ".ckpt", ".h5", ".joblib", ".msgpack", ".npz", ".pickle", ".pkl", ".pt", ".pth"})


@dataclass(frozen=True)
class Check:
    """One thing the gate looked at; ``detail`` says what it saw."""

    name: str
    passed: bool
    detail: str


@dataclass
class Verdict:
    """The gate's judgement of a candidate. ``champion`` is the alias's holder, ``None`` at a first promotion."""

    model: str
    version: int
    digest: str
    alias: str
    champion: int | None
    checks: list[Check] = field(default_factory=list)

    @property
    def passed(self) -> bool:
        return all(check.passed for check in self.checks)

    def as_dict(self) -> dict[str, Any]:
        return {**asdict(self), "passed": self.passed}

    def save(self, folder: Path) -> tuple[Path, str]:
        """Write it as ``<folder>/<sha256>.json``; (path, digest). Equal verdicts are one file."""
        content = json.dumps(self.as_dict(), sort_keys=True, indent=1).encode()
        digest = hashlib.sha256(content).hexdigest()
        path = folder / f"{digest}.json"
        folder.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        return path, digest


def judge(
    session: Session,
    candidate: ModelVersion,
    champion: ModelVersion | None,
    alias: str,
    parameters: PromotionParameters,
    files: Path,
) -> Verdict:
    """Judge ``candidate``, whose verified files lie in ``files``."""
    name = candidate.model.name
    verdict = Verdict(
        name, candidate.version, candidate.artifact.digest, alias, champion.version if champion is not None else None
    )
    rules = parameters.root.get(name, {})
    if not rules:
        verdict.checks.append(
            Check(
                "thresholds",
                False,
                f"promotion.{name} in params.yaml has no rule; add one",
            )
        )
    for metric, rule in rules.items():
        verdict.checks += _metric_checks(session, candidate, champion, metric, rule)
    verdict.checks += [_lineage_check(session, candidate), _weights_check(files)]
    return verdict


def _metric_checks(
    session: Session, candidate: ModelVersion, champion: ModelVersion | None, name: str, rule: MetricRule
) -> list[Check]:
    known = metrics_of(session, candidate.artifact_id)
    matching = _named(known, name, candidate)
    if not matching:
        names = ", ".join(sorted({metric.name for metric in known})) or "none"
        return [Check(name, False, f"never measured on {candidate}; measured: {names}")]
    metric = matching[-1]
    error = f" ± {metric.stderr:.4g}" if metric.stderr is not None else ""
    checks = []
    for bound, passed, relation in (
        (rule.min, rule.min is None or metric.value >= rule.min, "at least"),
        (rule.max, rule.max is None or metric.value <= rule.max, "at most"),
    ):
        if bound is not None:
            checks.append(Check(f"{name} {relation} {bound:g}", passed, f"{metric.value:.4g}{error}"))
    if champion is not None and rule.max_drop is not None:
        earlier = _named(metrics_of(session, champion.artifact_id), name, champion)
        checks.append(_comparison(name, metric, earlier, champion, rule.max_drop))
    return checks


def _named(metrics: list[MetricView], name: str, version: ModelVersion) -> list[MetricView]:
    """Metrics of that name, best evidence last: figures of the stage that made the model, then those of others."""
    found = [metric for metric in metrics if name in (metric.name, f"{metric.stage}.{metric.name}")]
    return sorted(found, key=lambda metric: metric.stage != version.execution.stage)


def _comparison(
    name: str, metric: MetricView, earlier: list[MetricView], champion: ModelVersion, max_drop: float
) -> Check:
    title = f"{name} against {champion}"
    same = [other for other in earlier if other.stage.partition("@")[0] == metric.stage.partition("@")[0]] or earlier
    comparable = [other for other in same if other.eval_set is not None and other.eval_set == metric.eval_set]
    if not comparable:
        theirs = same[-1].eval_set if same else None
        return Check(
            title,
            False,
            f"not comparable: measured on {_short(metric.eval_set)}, {champion} on {_short(theirs)}; evaluate both on "
            f"the same data, or set promotion.{champion.model.name}.{name}.max_drop to null (thresholds only)",
        )
    other = comparable[-1]
    if metric.higher_is_better is None:
        return Check(title, False, "the stage does not say which direction is better; set max_drop to null")
    gain = (metric.value - other.value) * (1 if metric.higher_is_better else -1)
    noise = NOISE * math.hypot(metric.stderr or 0.0, other.stderr or 0.0)
    detail = f"{metric.value:.4g} against {other.value:.4g} on {_short(metric.eval_set)}: "
    detail += "no difference" if gain == 0 else f"{'better' if gain > 0 else 'worse'} by {abs(gain):.4g}"
    if gain != 0 and noise > 0:
        detail += f", which is {'inside' if abs(gain) <= noise else 'outside'} the noise (± {noise:.4g})"
    return Check(title, -gain <= max(max_drop, noise), detail)


def _short(digest: str | None) -> str:
    return f"evaluation set {digest[:12]}" if digest else "no known evaluation set"


def _lineage_check(session: Session, candidate: ModelVersion) -> Check:
    artifacts = trace(session, str(candidate)).artifacts()
    orphans = [f"{node.name} ({node.digest[:12]})" for node in artifacts if not node.complete]
    if orphans:
        return Check("lineage complete", False, f"nothing is known of how these were made: {', '.join(orphans)}")
    return Check("lineage complete", True, f"{len(artifacts)} artifacts, every one traced to raw data")


def _weights_check(files: Path) -> Check:
    """Weights in safetensors only: other formats can run code when they are loaded."""
    from safetensors import SafetensorError, safe_open

    title, names = "weights in safetensors only", sorted(path for path in files.rglob("*") if path.is_file())
    unsafe = [path.name for path in names if path.suffix.lower() in UNSAFE_SUFFIXES]
    if unsafe:
        return Check(title, False, f"can run code when loaded: {', '.join(unsafe)}; save with safe_serialization")
    weights = [path for path in names if path.suffix == ".safetensors"]
    if not weights:
        return Check(title, False, "there is no .safetensors file")
    tensors = 0
    for path in weights:
        try:
            with safe_open(path, framework="np") as file:
                tensors += len(file.keys())
        except SafetensorError as error:
            return Check(title, False, f"{path.name} is damaged: {error}")
    return Check(title, True, f"{tensors} tensors in {len(weights)} file{'s' if len(weights) > 1 else ''}")
