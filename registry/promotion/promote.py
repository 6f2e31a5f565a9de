"""Promotions: which version holds an alias, decided by the gate and recorded in a chain of hashes."""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from sqlalchemy import select

from core import layout, text
from core.environment import account
from core.git import git
from core.keys import signing_key
from core.workspace import Workspace
from registry.db.database import Registry
from registry.db.database import open as open_registry
from registry.db.references import current, resolve
from registry.db.schema import GENESIS, Artifact, ModelVersion, Promotion, Signature
from registry.errors import InvalidRequest, NotMeasured, PromotionConflict
from registry.integrity import anchor, history, statements
from registry.integrity.chain import hash_of, link_of
from registry.integrity.signing import SignedFiles, Statement, sign
from registry.lineage.recording import find_or_add
from registry.promotion.contamination import Compare, Contamination, contamination
from registry.promotion.gate import Check, Pair, Verdict, check_signatures, judge
from registry.promotion.measurements import Gap, Measurement, gaps
from registry.promotion.mirror import MirrorReport, mirror
from registry.promotion.parameters import PromotionParameters
from registry.promotion.releases import record_release
from registry.store.materialize import materialize_artifact
from registry.store.run_locks import running

#: Measures the version that is named by running a stage; raises ``NotMeasured`` where that fails.
Measure = Callable[[str, Gap], None]

ACTOR_LIMIT = 300  # characters
_ALIAS = re.compile(r"[A-Za-z][A-Za-z0-9_\-]{0,99}")


@dataclass
class PromotionOutcome:
    """The outcome of a request to promote.

    Attributes:
        action: ``promote`` or ``rollback``; ``reject`` where the gate refused; ``unchanged`` where the version holds
            the alias already; ``await`` where it passed and waits for a person's approval, so nothing was recorded.
        previous: version that held the alias before.
        verdict: the gate's checks; ``None`` where there were none.
        gate: file that keeps the verdict.
        hash: of the row that was written.
        key_id: key that signed the version's files.
        mirror: what was updated in MLflow.
    """

    action: str
    model: str
    version: int
    alias: str
    previous: int | None
    forced: bool = False
    verdict: Verdict | None = None
    gate: Path | None = None
    hash: str | None = None
    key_id: str | None = None
    mirror: MirrorReport = field(default_factory=MirrorReport)

    @property
    def accepted(self) -> bool:
        return self.action not in ("reject", "await")

    def as_dict(self) -> dict[str, Any]:
        verdict = self.verdict.as_dict() if self.verdict else None
        return {
            **asdict(self),
            "verdict": verdict,
            "gate": str(self.gate) if self.gate else None,
            "accepted": self.accepted,
        }


def promote(
    workspace: Workspace,
    reference: str,
    alias: str,
    reason: str,
    actor: str,
    *,
    force: bool = False,
    measure: Measure | None = None,
    approval: Check | None = None,
    compare: Compare | None = None,
    pair: Pair | None = None,
) -> PromotionOutcome:
    """Judge the version that ``reference`` names and, if it passes (or by ``force``), give it ``alias`` and sign it.

    A refused candidate is recorded too. The decision does not need MLflow: its alias is set at a later sync.

    Args:
        measure: measures a version by a stage on the workspace's present evaluation set. Called where candidate and
            champion were not measured alike: for the champion first, and where that is not enough for the candidate.
        approval: what a person decided; it is kept with the gate's own checks, and counts as one of them.
        compare: compares data of the lineage with an evaluation set, where ``promotion.max_contamination`` asks and no
            stage did.
        pair: compares two measurements item by item, for ``max_drop``.

    Raises:
        PromotionRefused: it cannot be judged: no reason, or an alias of the wrong form.
        InputProblem: mistakes in ``params.yaml``.
        PromotionConflict: another promotion moved the alias meanwhile.
        UnknownReference, MissingBytes, InvalidBytes: there is no such version, or its files are missing or damaged.
        KeyProblem: there is no key to sign with.
        UnsoundHistory: the promotions before are not what was signed.
    """
    check_request(alias, reason, actor)
    with running(workspace.home), open_registry(workspace.registry_url) as registry:
        _require_key(workspace, registry)
        judged = _judge(workspace, registry, reference, alias, measure, compare, pair)
        if isinstance(judged, PromotionOutcome):
            return judged
        verdict, candidate, champion = judged.verdict, judged.candidate, judged.champion
        if approval is not None:
            verdict.checks.append(approval)
        accepted = verdict.passed or force
        row = Promotion(
            model_id=candidate.model_id,
            alias=alias,
            from_version_id=champion.id if champion is not None else None,
            to_version_id=candidate.id,
            action="promote" if accepted else "reject",
            forced=accepted and not verdict.passed,
            passed=verdict.passed,
            actor=actor.strip(),
            reason=reason.strip(),
        )
        signed = sign(workspace, judged.files, judged.statement) if accepted else None
        path = append(workspace, registry, row, judged.judged_against, verdict, signed)
        return PromotionOutcome(
            row.action,
            candidate.model.name,
            candidate.version,
            alias,
            champion.version if champion else None,
            row.forced,
            verdict,
            path,
            row.hash,
            signed.key_id if signed else None,
            mirror(workspace, registry),
        )


def assess(
    workspace: Workspace,
    reference: str,
    alias: str,
    *,
    measure: Measure | None = None,
    compare: Compare | None = None,
    pair: Pair | None = None,
) -> PromotionOutcome:
    """What :func:`promote` would decide, without deciding it: ``await``, ``reject`` or ``unchanged``.

    Nothing is recorded but what had to be measured.

    Raises:
        PromotionRefused, UnknownReference, MissingBytes, InvalidBytes, KeyProblem: as there.
    """
    with running(workspace.home), open_registry(workspace.registry_url) as registry:
        judged = _judge(workspace, registry, reference, alias, measure, compare, pair)
    if isinstance(judged, PromotionOutcome):
        return judged
    verdict = judged.verdict
    action = "await" if verdict.passed else "reject"
    return PromotionOutcome(action, verdict.model, verdict.version, alias, verdict.champion, verdict=verdict)


@dataclass(frozen=True)
class _Judged:
    """A candidate before the gate; ``judged_against`` is the row that gave the alias to its holder then."""

    candidate: ModelVersion
    champion: ModelVersion | None
    judged_against: int | None
    files: Path
    statement: Statement
    verdict: Verdict


def _judge(
    workspace: Workspace,
    registry: Registry,
    reference: str,
    alias: str,
    measure: Measure | None,
    compare: Compare | None,
    pair: Pair | None,
) -> _Judged | PromotionOutcome:
    """The gate's verdict, or the outcome where the version holds the alias already."""
    parameters = PromotionParameters.load(workspace.root)
    with registry.read() as session:
        candidate = history.resolve(workspace, session, reference)
        name, artifact = str(candidate), candidate.artifact
        standing = current(session, candidate.model_id, alias)
        judged_against = standing.id if standing else None
        holder = str(standing.to_version) if standing else None
        if standing is not None and standing.to_version_id == candidate.id:
            session.expunge_all()
            return PromotionOutcome(
                "unchanged",
                candidate.model.name,
                candidate.version,
                alias,
                candidate.version,
                mirror=mirror(workspace, registry),
            )
        session.expunge_all()
    files = materialize_artifact(workspace, registry, artifact)
    signatures = check_signatures(workspace, registry, name)
    rules = parameters.rules.get(candidate.model.name, {})
    names = [metric for metric, rule in rules.items() if rule.max_drop is not None]
    unmeasured = _fill_gaps(registry, measure, name, holder, names) if holder and measure else {}
    with registry.read() as session:
        candidate = resolve(session, name)
        champion = resolve(session, holder) if holder else None

        def contaminated(metric: Measurement) -> Contamination:
            return contamination(workspace, session, candidate.execution_id, metric, compare)

        verdict = judge(
            session, candidate, champion, alias, parameters, files, unmeasured, signatures, contaminated, pair
        )
        statement = Statement.of(session, candidate)
        session.expunge_all()
    return _Judged(candidate, champion, judged_against, files, statement, verdict)


def check_request(alias: str, reason: str, actor: str) -> None:
    """Refuse what could not be recorded.

    Raises:
        InvalidRequest: no reason, no actor, one that is too long or holds control characters, or an alias of the wrong
            form; every problem is named.
    """
    problems = text.problems("the reason", reason, text.REASON_LIMIT)
    problems += text.problems("the actor", actor, ACTOR_LIMIT)
    if not reason.strip():
        problems.append("a promotion needs a reason, which is recorded; give one with --reason")
    if not actor.strip():
        problems.append("a promotion needs an actor; set git's user.name")
    if not _ALIAS.fullmatch(alias):
        problems.append(f"{alias!a} cannot be an alias: use letters, digits, '-' and '_' (100 at most), a letter first")
    if problems:
        raise InvalidRequest(problems)


def _require_key(workspace: Workspace, registry: Registry) -> None:
    """Know before minutes of work that the decision can be signed."""
    with registry.read() as session:
        statements.require_key(workspace, session)
        history.require(workspace, session)
    signing_key(workspace)


def _fill_gaps(registry: Registry, measure: Measure, candidate: str, champion: str, names: list[str]) -> dict[Gap, str]:
    """Measure what the comparison lacks; returns what could not be measured, and why."""
    failures: dict[Gap, str] = {}
    for version in (champion, candidate):
        with registry.read() as session:
            lacking = gaps(session, resolve(session, candidate), resolve(session, champion), names)
        for gap in lacking:
            if gap in failures:
                continue
            try:
                measure(version, gap)
            except NotMeasured as error:
                failures[gap] = str(error)
    return failures


def default_actor(workspace: Workspace) -> str:
    """``Name <email>`` from git, else the name of the account."""
    name = git(workspace.root, "config", "user.name", check=False)
    email = git(workspace.root, "config", "user.email", check=False)
    return f"{name} <{email}>" if name and email else name or account()


def append(
    workspace: Workspace,
    registry: Registry,
    row: Promotion,
    judged_against: int | None,
    verdict: Verdict,
    signed: SignedFiles | None = None,
) -> Path:
    """Write the row at the end of the chain, with its verdict and signature; the verdict's file.

    Args:
        judged_against: row that gave the alias to its holder when the candidate was judged.

    Raises:
        PromotionConflict: the alias has moved since.
        UnsoundHistory, KeyProblem: as :func:`registry.integrity.history.require`.
    """
    verdict.request = {name: getattr(row, name) for name in ("action", "forced", "actor", "reason")}
    path, digest = verdict.save(layout.verdicts(workspace.home))
    with registry.write() as session:
        statements.begin(workspace, session)
        history.require(workspace, session)  # nobody signs on top of what somebody else made up
        standing = current(session, row.model_id, row.alias)
        if standing is not None and standing.id != judged_against:
            raise PromotionConflict(
                f"{standing.model.name}@{standing.alias} was given to version {standing.to_version.version} by "
                f"{standing.actor} at {standing.time} ({standing.reason!r}) while this promotion was being judged; "
                f"look at `stemma history {standing.model.name}` and promote again if it still should"
            )
        artifact, _ = find_or_add(
            session,
            Artifact,
            {"type": "gate", "hash_algo": "sha256", "digest": digest},
            name=path.relative_to(workspace.home).as_posix(),
            size=path.stat().st_size,
            files=None,
            uri=path.as_uri(),
            created=time.time(),
        )
        row.gate_artifact_id = artifact.id
        row.previous_hash = session.scalars(select(Promotion.hash).order_by(Promotion.id.desc())).first() or GENESIS
        row.time = datetime.now(UTC).isoformat(timespec="microseconds")
        row.hash = hash_of(link_of(session, row))
        session.add(row)
        statements.sign_promotion(workspace, session, row)
        if row.action != "reject":
            record_release(session, row)
        if (
            signed is not None
            and not session.scalars(
                select(Signature).filter_by(version_id=row.to_version_id, key_id=signed.key_id)
            ).first()
        ):
            session.add(signed.as_row(row.to_version_id))
    anchor.extend(workspace, registry)  # what fails now is done by the next sync; an audit says so until then
    return path
