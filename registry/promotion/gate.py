"""The gate: whether a version may take an alias. Every check is kept, passed or not.

A candidate is judged against the thresholds of ``params.yaml`` and, where a version holds the alias, against that
version on the same evaluation sets. A worsening within 1.96 standard errors of the difference is noise and passes; the
difference is that of the items that both were asked, where these are at hand: it is known better than two values apart.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from core import files
from core.errors import KeyProblem
from core.keys import trusted_keys
from core.workspace import Workspace
from registry.db.database import Registry
from registry.db.references import resolve
from registry.db.schema import IMPORT, Artifact, Execution, MetricValue, ModelVersion
from registry.errors import InvalidBytes, MissingBytes, NotCheckable
from registry.integrity import signed_receipts
from registry.integrity.verification import signatures_of, verify_version
from registry.lineage.trace import trace
from registry.lineage.traversal import upstream
from registry.promotion import human
from registry.promotion.contamination import Contamination
from registry.promotion.measurements import Gap, Measurement, counterpart, measurements, names_of, short
from registry.promotion.parameters import MetricRule, PromotionParameters
from registry.promotion.trial import try_model

NOISE = 1.96  # standard errors; two-sided 95 % of a normal distribution
SIGNATURES = "signatures valid"  # name of that check
UNSAFE_SUFFIXES = frozenset({".bin", ".ckpt", ".h5", ".joblib", ".msgpack", ".npz", ".pickle", ".pkl", ".pt", ".pth"})


@dataclass(frozen=True)
class Check:
    """One condition that the gate checked; ``detail`` says what it found."""

    name: str
    passed: bool
    detail: str


@dataclass(frozen=True)
class PairedGain:
    """How much better the candidate does than the champion on the ``n`` items that both were asked, in the metric's
    unit: positive is better."""

    gain: float
    stderr: float | None
    n: int


#: The paired gain of the first measurement over the second; ``None`` where their items are not at hand.
Pair = Callable[[Measurement, Measurement], PairedGain | None]


@dataclass
class Verdict:
    """The gate's judgement of a candidate.

    Attributes:
        champion: version that held the alias; ``None`` at a first promotion.
        rules: those of the model in ``params.yaml``, by metric.
        request: action, actor and reason, a second record of the promotion's row.
    """

    model: str
    version: int
    digest: str
    alias: str
    champion: int | None
    checks: list[Check] = field(default_factory=list)
    rules: dict[str, dict[str, float | None]] = field(default_factory=dict)
    request: dict[str, Any] = field(default_factory=dict)

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
        files.write_bytes(path, content)
        return path, digest


def check_signatures(workspace: Workspace, registry: Registry, candidate: str) -> Check:
    """Verify the candidate's signatures, if it has been signed, and those of its signed ancestors, bytes included, and
    the receipts of the stages that made and measured it.

    An ancestor whose bytes are no longer here cannot be verified; the check says so and still passes.
    """
    with registry.read() as session:
        signed = _signed(session, candidate)
        if (why := _unsigned_receipts(workspace, session, resolve(session, candidate))) is not None:
            return Check(SIGNATURES, False, why)
    valid, absent = [], []
    for name in signed:
        try:
            verify_version(workspace, registry, name)
            valid.append(name)
        except MissingBytes:
            absent.append(name)
        except (InvalidBytes, NotCheckable, KeyProblem) as error:
            return Check(SIGNATURES, False, str(error))
    lines = [f"{', '.join(valid)} verified" if valid else "neither it nor a model it descends from was signed before"]
    if absent:
        lines.append(f"not verified, because their files are not here: {', '.join(absent)}")
    return Check(SIGNATURES, True, "; ".join(lines))


def judge(
    session: Session,
    candidate: ModelVersion,
    champion: ModelVersion | None,
    alias: str,
    parameters: PromotionParameters,
    folder: Path,
    unmeasured: Mapping[Gap, str],
    signatures: Check,
    contaminated: Callable[[Measurement], Contamination] | None = None,
    pair: Pair | None = None,
) -> Verdict:
    """Judge ``candidate``, whose verified files lie in ``folder``.

    Args:
        unmeasured: what could not be measured for the comparison, and why.
        signatures: outcome of checking the signatures of the candidate and of the models it descends from.
        contaminated: what its lineage holds of the evaluation set of a measurement; ``None``: not known.
        pair: compares two measurements item by item; ``None``, or where it has no items: by their values alone.
    """
    name = candidate.model.name
    verdict = Verdict(
        name, candidate.version, candidate.artifact.digest, alias, champion.version if champion is not None else None
    )
    rules = parameters.rules.get(name, {})
    verdict.rules = parameters.shown(name)
    if not rules and candidate.execution.stage == IMPORT:
        unmeasured_yet = f"it was imported, and promotion.{name} in params.yaml asks for nothing"
        verdict.checks.append(Check("thresholds", True, unmeasured_yet))
    elif not rules:
        verdict.checks.append(
            Check(
                "thresholds",
                False,
                f"promotion.{name} in params.yaml has no rule; add one",
            )
        )
    for metric, rule in rules.items():
        if metric == human.NAME:
            verdict.checks += _human_checks(session, candidate, champion, rule)
            continue
        verdict.checks += _metric_checks(session, candidate, champion, metric, rule, unmeasured, pair)
        if parameters.max_contamination is not None and (matching := measurements(session, candidate, metric)):
            found = contaminated(matching[-1]) if contaminated else Contamination()
            verdict.checks.append(_contamination_check(metric, matching[-1], parameters.max_contamination, found))
    weights = _weights_check(folder)
    verdict.checks += [_lineage_check(session, candidate), signatures, weights]
    if weights.passed:
        verdict.checks += _loading_checks(folder)
    else:
        verdict.checks.append(Check("model loads and answers", False, "not tried: its weights are not safe to load"))
    return verdict


def _metric_checks(
    session: Session,
    candidate: ModelVersion,
    champion: ModelVersion | None,
    name: str,
    rule: MetricRule,
    unmeasured: Mapping[Gap, str],
    pair: Pair | None,
) -> list[Check]:
    matching = measurements(session, candidate, name)
    if not matching:
        names = ", ".join(names_of(session, candidate)) or "none"
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
        checks.append(_comparison(session, name, metric, champion, rule.max_drop, unmeasured, pair))
    return checks


def _human_checks(
    session: Session, candidate: ModelVersion, champion: ModelVersion | None, rule: MetricRule
) -> list[Check]:
    if champion is None:
        return [Check(human.NAME, True, "no version holds the alias, so there is none to vote against")]
    rate = human.win_rate(session, candidate, champion)
    if not rate.votes:
        signed, served = f"stemma promote {candidate} --to candidate", f"stemma serve {candidate} {champion}"
        way_on = f"sign it (`{signed}`), serve both (`{served}`) and vote on the page /arena"
        return [Check(human.NAME, False, f"nobody has voted on {candidate} against {champion}; {way_on}")]
    low, high = rate.interval
    shown = f"{rate.value:.4g}, 95 % {low:.4g} to {high:.4g} ({rate.wins} won, {rate.ties} tied, {rate.losses} lost)"
    checks = []
    if rule.min is not None:
        checks.append(Check(f"{human.NAME} at least {rule.min:g}", rate.value >= rule.min, shown))
    if rule.max is not None:
        checks.append(Check(f"{human.NAME} at most {rule.max:g}", rate.value <= rule.max, shown))
    if rule.max_drop is not None:
        title = f"{human.NAME} against {champion}"
        checks.append(Check(title, rate.value >= 0.5 - rule.max_drop or high >= 0.5, f"{shown}, against 0.5"))
    return checks


def _comparison(
    session: Session,
    name: str,
    metric: Measurement,
    champion: ModelVersion,
    max_drop: float,
    unmeasured: Mapping[Gap, str],
    pair: Pair | None,
) -> Check:
    title = f"{name} against {champion}"
    other = counterpart(session, metric, champion, name)
    if other is None:
        return Check(title, False, _not_comparable(session, name, metric, champion, unmeasured))
    if metric.higher_is_better is None:
        return Check(title, False, "the stage does not state which direction is better; set max_drop to null")
    gain = (metric.value - other.value) * (1 if metric.higher_is_better else -1)
    noise, kind = NOISE * math.hypot(metric.stderr or 0.0, other.stderr or 0.0), "noise"
    detail = f"{metric.value:.4g} against {other.value:.4g} on {short(metric.eval_set)}: "
    paired = pair(metric, other) if pair is not None else None
    if paired is not None and paired.stderr is not None:
        gain, noise, kind = paired.gain, NOISE * paired.stderr, f"paired noise of {paired.n:,} shared items"
    detail += "no difference" if gain == 0 else f"{'better' if gain > 0 else 'worse'} by {abs(gain):.4g}"
    if gain != 0 and noise > 0:
        detail += f", which is {'inside' if abs(gain) <= noise else 'outside'} the {kind} (± {noise:.4g})"
    return Check(title, -gain <= max(max_drop, noise), detail)


def _not_comparable(
    session: Session, name: str, metric: Measurement, champion: ModelVersion, unmeasured: Mapping[Gap, str]
) -> str:
    way_on = f"set promotion.{champion.model.name}.{name}.max_drop to null (thresholds only), or use --force"
    earlier = measurements(session, champion, name)
    if metric.eval_set is None:
        return f"not comparable: measured on {short(None)}; {way_on}"
    difference = metric.difference(earlier[-1]) if earlier else f"{champion} has no such metric"
    if metric.read_from is None:
        return (
            f"not comparable: {difference}, and {metric.stage} measures only the model it makes, so {champion} cannot "
            f"be measured again without training it; train it again on this data, {way_on}"
        )
    failure = unmeasured.get(Gap(metric.stage, metric.read_from))
    if failure:
        return (
            f"not comparable: {difference}, and {metric.stage} could not measure {champion} again: {failure}; {way_on}"
        )
    return (
        f"not comparable: {difference}; bring {metric.stage} up to date (`stemma run`) and promote again, or {way_on}"
    )


def _contamination_check(name: str, metric: Measurement, most: float, found: Contamination) -> Check:
    """Whether what a metric rests on was learnt. What is not known is said, and passes."""
    title = f"{name} on unseen data (at most {most:.2%} seen)"
    guilty = sorted((pair for pair in found.pairs if pair.share > most), key=lambda pair: -pair.share)
    unknown = f"; unknown: {'; '.join(found.unknown)}" if found.unknown else ""
    if guilty:
        return Check(
            title,
            False,
            f"{'; '.join(map(str, guilty))}{unknown}; curate with decontamination.action: remove, or raise "
            "promotion.max_contamination",
        )
    if not found.pairs:
        of = short(metric.eval_set)
        return Check(title, True, f"unknown for {of}: {'; '.join(found.unknown) or 'it was compared with no data'}")
    worst = max(found.pairs, key=lambda pair: pair.share)
    return Check(title, True, f"{worst}{unknown}")


def _lineage_check(session: Session, candidate: ModelVersion) -> Check:
    artifacts = trace(session, str(candidate)).artifacts()
    orphans = [f"{node.name} ({node.digest[:12]})" for node in artifacts if not node.complete]
    if orphans:
        return Check("lineage complete", False, f"no record of how these were made: {', '.join(orphans)}")
    imported = [node.origin for node in artifacts if node.origin]
    ends = f"raw data or to imported weights ({', '.join(imported)})" if imported else "raw data"
    return Check("lineage complete", True, f"{len(artifacts)} artifacts, every one traced to {ends}")


def _signed(session: Session, reference: str) -> list[str]:
    """Signed versions among the candidate and its ancestors, the candidate first."""
    digests = [node.digest for node in trace(session, reference).artifacts() if node.type == "model"]
    rows = session.scalars(
        select(ModelVersion).join(Artifact, Artifact.id == ModelVersion.artifact_id).where(Artifact.digest.in_(digests))
    ).all()
    rows = sorted(rows, key=lambda row: digests.index(row.artifact.digest))
    return [str(row) for row in rows if signatures_of(session, row)]


def _unsigned_receipts(workspace: Workspace, session: Session, candidate: ModelVersion) -> str | None:
    """What is wrong with the receipts of what made a version and of what measured it."""
    trusted = trusted_keys(workspace)
    newest, changed = signed_receipts.adopted(session, trusted)
    measured = select(MetricValue.execution_id).filter_by(artifact_id=candidate.artifact_id)
    ids = upstream(session, candidate.execution_id) | set(session.scalars(measured))
    executions = session.scalars(select(Execution).where(Execution.id.in_(ids)).order_by(Execution.id)).all()
    found = [f"receipt of {execution.stage}: {why}" for execution, why in
             signed_receipts.faults(session, trusted, executions, newest)]  # fmt: skip
    if changed and any(execution.id <= newest for execution in executions):
        found.append(changed)
    return "; ".join(found) or None


def _weights_check(folder: Path) -> Check:
    """Weights in safetensors only: other formats can run code when they are loaded."""
    from safetensors import SafetensorError, safe_open

    title, names = "weights in safetensors only", sorted(path for path in folder.rglob("*") if path.is_file())
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


def _loading_checks(folder: Path) -> list[Check]:
    trial = try_model(folder)
    passed = [Check(name, True, detail) for name, detail in trial.passed]
    return passed if trial.fault is None else [Check("model loads and answers", False, trial.fault)]
