"""Whether everything still is what it was: decisions, signatures, bytes, and what MLflow shows of it."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from sqlalchemy import create_engine, func, make_url, select, text
from sqlalchemy.orm import Session

from core.errors import redacted
from core.workspace import Workspace, sqlite_path
from registry.db.database import Registry
from registry.db.database import open as open_registry
from registry.db.references import current_aliases
from registry.db.schema import AliasMirror, Artifact, ExecutionContext, ModelVersion, Promotion, Signature
from registry.errors import InvalidBytes, KeyProblem
from registry.integrity.chain import broken_link
from registry.integrity.contents import Contents
from registry.integrity.signing import Statement, check_signature
from registry.promotion.mirror import connect, unreachable
from registry.promotion.releases import RELEASE

ALIASES = text(
    "SELECT aliases.name, aliases.alias, coalesce(tags.value, '') FROM registered_model_aliases aliases "
    "LEFT JOIN model_version_tags tags ON tags.name = aliases.name AND tags.version = aliases.version "
    "AND tags.key = 'stemma.digest'"
)
State = Literal["wrong", "behind", "missing", "unchecked"]


@dataclass(frozen=True)
class AuditFinding:
    """Something that is not as it should be.

    Attributes:
        part: chain, verdict, signature, bytes or mirror.
        subject: where, such as ``promotion 2`` or ``base:1``.
        state: ``wrong``: it is not what was recorded; ``behind``: MLflow does not show it yet; ``missing``: its bytes
            are not on this machine, so it cannot be checked; ``unchecked``: MLflow does not answer.
        detail: what was found, and what to do.
    """

    part: str
    subject: str
    state: State
    detail: str


@dataclass
class AuditReport:
    """What was checked, and what was found.

    Attributes:
        promotions, signatures, artifacts, aliases: how many were checked.
        bytes: how many were hashed.
        findings: in the order of :func:`audit`: the first broken one is the first broken link.
    """

    promotions: int = 0
    signatures: int = 0
    artifacts: int = 0
    bytes: int = 0
    aliases: int = 0
    findings: list[AuditFinding] = field(default_factory=list)

    @property
    def broken(self) -> list[AuditFinding]:
        """What is wrong or behind. Missing bytes and a server that does not answer prove nothing."""
        return [finding for finding in self.findings if finding.state in ("wrong", "behind")]

    @property
    def sound(self) -> bool:
        return not self.broken

    def as_dict(self) -> dict[str, Any]:
        return {**asdict(self), "sound": self.sound, "first_broken": asdict(self.broken[0]) if self.broken else None}


def audit(workspace: Workspace) -> AuditReport:
    """Check every promotion, every artifact's bytes on this machine, every signature and every alias.

    Raises:
        DatabaseError: the registry's database cannot be used.
        DvcError: DVC's settings are not readable.
    """
    report = AuditReport()
    with open_registry(workspace.registry_url) as registry:
        with registry.read() as session:
            check_decisions(workspace, session, report)
            check_contents(workspace, session, report)
        check_mirror(workspace, registry, report)
    return report


def check_decisions(workspace: Workspace, session: Session, report: AuditReport) -> None:
    """Add what is wrong with the promotions: the chain of their hashes, and the verdicts' files, which repeat them."""
    report.promotions = session.scalar(select(func.count()).select_from(Promotion)) or 0
    rows = session.scalars(select(Promotion).order_by(Promotion.id)).all()
    link = broken_link(session)
    for row in rows:
        subject = f"promotion {row.id} ({row.model.name}@{row.alias})"
        differences, unreadable = _against_its_verdict(workspace, row)
        if link is not None and link.id == row.id:
            if link.why == "predecessor":
                detail = "the row before it is not the one it was written after: a row was removed or inserted"
            else:
                detail = "its content is not what was hashed when it was written: " + (
                    "; ".join(differences) or "its time, or the version it names, was changed"
                )
            report.findings.append(
                AuditFinding("chain", subject, "wrong", f"{detail}; restore the registry from a backup")
            )
        elif differences:
            report.findings.append(AuditFinding("verdict", subject, "wrong", "; ".join(differences)))
        if unreadable:
            report.findings.append(AuditFinding("verdict", subject, *unreadable))
    known = {row.hash for row in rows}
    for name in session.scalars(
        select(ExecutionContext.name).where(ExecutionContext.type == RELEASE).order_by(ExecutionContext.id)
    ):
        if name not in known and (link is None or link.why != "content"):
            detail = "its row was deleted; restore the registry from a backup"
            report.findings.append(AuditFinding("chain", f"promotion with hash {name[:12]}", "wrong", detail))


def _against_its_verdict(workspace: Workspace, row: Promotion) -> tuple[list[str], tuple[Any, str] | None]:
    """(where the row differs from its verdict's file, why that file cannot be compared)."""
    path = workspace.home / row.gate.name
    if not path.is_file():
        return [], ("missing", f"its verdict {path} does not exist")
    content = path.read_bytes()
    if hashlib.sha256(content).hexdigest() != row.gate.digest:
        return [], ("wrong", f"its verdict {path} was changed; restore it from a backup")
    verdict = json.loads(content)
    own = {
        "model": row.model.name,
        "version": row.to_version.version,
        "digest": row.to_version.artifact.digest,
        "alias": row.alias,
        "champion": row.from_version.version if row.from_version else None,
        "passed": row.passed,
    }
    kept = {name: verdict.get(name) for name in own}
    request = verdict.get("request") or {}  # the first release kept none
    own |= {name: getattr(row, name) for name in request}
    kept |= request
    other = [name for name in own if own[name] != kept[name]]
    return [f"{name} is {own[name]!r}, the verdict says {kept[name]!r}" for name in other], None


def check_contents(workspace: Workspace, session: Session, report: AuditReport) -> None:
    """Add what is wrong with the bytes and the signatures."""
    contents = Contents(workspace)
    names: dict[int, list[str]] = {}
    for version in session.scalars(select(ModelVersion).order_by(ModelVersion.id)):
        names.setdefault(version.artifact_id, []).append(str(version))
    states: dict[int, str] = {}
    for artifact in session.scalars(select(Artifact).where(Artifact.hash_algo == "md5").order_by(Artifact.id)):
        state, detail = contents.state_of(artifact)
        states[artifact.id] = state
        report.artifacts += 1
        if state != "sound":
            subject = ", ".join(names.get(artifact.id, [])) or artifact.name
            report.findings.append(AuditFinding("bytes", f"{subject} (md5 {artifact.digest[:12]})", state, detail))
    rows = session.execute(
        select(Signature, ModelVersion)
        .join(ModelVersion, ModelVersion.id == Signature.version_id)
        .order_by(Signature.id)
    )
    for signature, version in rows:
        report.signatures += 1
        subject = f"{version}, key {signature.key_id[:12]}"
        if states.get(version.artifact_id) != "sound":
            state = "missing" if states.get(version.artifact_id) == "missing" else "wrong"
            report.findings.append(AuditFinding("signature", subject, state, f"its files are {state}, see above"))
            continue
        try:
            with contents.assembled(version.artifact) as files:
                check_signature(workspace, files, signature, Statement.of(session, version))
        except (InvalidBytes, KeyProblem) as error:
            report.findings.append(AuditFinding("signature", subject, "wrong", str(error)))
    report.bytes = contents.hashed


def check_mirror(workspace: Workspace, registry: Registry, report: AuditReport) -> None:
    """Add where MLflow's aliases differ from the registry's; the next sync sets back an alias that was moved there."""
    with registry.read() as session:
        standing = current_aliases(session)
        mirrored = {(row.model_id, row.alias): row.promotion_id for row in session.query(AliasMirror)}
        digests = {row.id: row.to_version.artifact.digest for row in standing}
        for row in standing:
            _ = str(row.to_version)
        session.expunge_all()
    report.aliases = len(standing)
    behind = [row for row in standing if mirrored.get((row.model_id, row.alias)) != row.id]
    for row in behind:
        detail = f"MLflow does not show {row.to_version} yet; `stemma sync` sets it when MLflow answers"
        report.findings.append(AuditFinding("mirror", _name(row), "behind", detail))
    if not standing:
        return
    why = unreachable(workspace.mlflow_uri)
    try:
        found = None if why else _shown(workspace)
    except Exception as error:  # a server, a network or a damaged database can raise anything
        lines = str(error).strip().splitlines() or [""]
        found, why = None, redacted(f"{type(error).__name__}: {lines[0][:300]}")
    if found is None:
        detail = f"MLflow could not be read ({why}); audit again when it answers"
        report.findings.append(AuditFinding("mirror", "MLflow's aliases", "unchecked", detail))
        return
    for row in standing:
        shown = found.pop((row.model.name, row.alias), None)
        if row not in behind and shown != digests[row.id]:
            with registry.write() as session:
                if (mark := session.get(AliasMirror, (row.model_id, row.alias))) is not None:
                    session.delete(mark)
            other = f"digest {shown[:12]}" if shown else "nothing"
            detail = f"MLflow shows {other}, the registry says {row.to_version}; `stemma sync` sets it back"
            report.findings.append(AuditFinding("mirror", _name(row), "wrong", detail))
    models = {row.model.name for row in standing}
    for model, alias in sorted(found):
        if model in models:
            detail = "MLflow shows it, but no version was promoted to it; delete the alias in MLflow"
            report.findings.append(AuditFinding("mirror", f"{model}@{alias}", "wrong", detail))


def _shown(workspace: Workspace) -> dict[tuple[str, str], str]:
    """Digest of the version that MLflow shows under each (model, alias)."""
    if not workspace.mlflow_uri.startswith("http"):
        return _in_database(workspace.mlflow_uri)
    client = connect(workspace)
    shown = {}
    for model in client.search_registered_models():
        for alias in model.aliases:
            version = client.get_model_version_by_alias(model.name, alias)
            shown[model.name, alias] = version.tags.get("stemma.digest", "")
    return shown


def _in_database(uri: str) -> dict[tuple[str, str], str]:
    """As :func:`_shown`, from MLflow's own tables: importing its client takes two seconds."""
    url = make_url(uri)
    file = sqlite_path(url) if url.get_backend_name() == "sqlite" else None
    if file is not None and not file.exists():
        return {}
    engine = create_engine(url)
    try:
        with engine.connect() as connection:
            rows = connection.execute(ALIASES).all()
    finally:
        engine.dispose()
    return {(name, alias): digest for name, alias, digest in rows}


def _name(row: Promotion) -> str:
    return f"{row.model.name}@{row.alias}"
