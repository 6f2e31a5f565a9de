"""Whether everything still is what it was: decisions, signatures, bytes, and what MLflow shows of it."""

from __future__ import annotations

from sqlalchemy import create_engine, make_url, select, text
from sqlalchemy.orm import Session

from core.errors import KeyProblem, redacted
from core.workspace import Workspace, sqlite_path
from registry.db.database import Registry
from registry.db.database import open as open_registry
from registry.db.references import current_aliases
from registry.db.schema import AliasMirror, Artifact, ModelVersion, Promotion, Signature
from registry.errors import InvalidBytes, NotCheckable
from registry.integrity import decisions
from registry.integrity.contents import Contents
from registry.integrity.report import AuditFinding, AuditReport
from registry.integrity.signing import Statement, check_signature
from registry.promotion.mirror import connect, unreachable

ALIASES = text(
    "SELECT aliases.name, aliases.alias, coalesce(tags.value, '') FROM registered_model_aliases aliases "
    "LEFT JOIN model_version_tags tags ON tags.name = aliases.name AND tags.version = aliases.version "
    "AND tags.key = 'stemma.digest'"
)


def audit(workspace: Workspace) -> AuditReport:
    """Check every promotion, every artifact's bytes on this machine, every signature and every alias.

    Raises:
        DatabaseError: the registry's database cannot be used.
        DvcError: DVC's settings are not readable.
    """
    report = AuditReport()
    with open_registry(workspace.registry_url) as registry:
        with registry.read() as session:
            decisions.check(workspace, session, report)
            check_contents(workspace, session, report)
        check_mirror(workspace, registry, report)
    return report


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
        except NotCheckable as error:
            report.add("signature", subject, "unchecked", str(error))
        except (InvalidBytes, KeyProblem) as error:
            report.add("signature", subject, "wrong", str(error))
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
    if not standing and workspace.mlflow_uri.startswith("http"):
        return  # asking a server takes seconds
    why = unreachable(workspace.mlflow_uri)
    try:
        found = None if why else _shown(workspace)
    except Exception as error:  # a server, a network or a damaged database can raise anything
        lines = str(error).strip().splitlines() or [""]
        found, why = None, redacted(f"{type(error).__name__}: {lines[0][:300]}")
    if found is None and not standing:
        return
    if found is None:
        detail = f"MLflow could not be read ({why}); audit again when it answers"
        report.findings.append(AuditFinding("mirror", "MLflow's aliases", "unchecked", detail))
        return
    with registry.read() as session:
        now = {(row.model.name, row.alias): row.id for row in current_aliases(session)}
    then = {(row.model.name, row.alias): row.id for row in standing}
    # What was decided while MLflow was asked is left to the next audit.
    found = {name: digest for name, digest in found.items() if now.get(name) == then.get(name)}
    for row in standing:
        name = (row.model.name, row.alias)
        shown = found.pop(name, None)
        if now.get(name) == row.id and row not in behind and shown != digests[row.id]:
            with registry.write() as session:
                if (mark := session.get(AliasMirror, (row.model_id, row.alias))) is not None:
                    session.delete(mark)
            other = f"digest {shown[:12]}" if shown else "nothing"
            detail = f"MLflow shows {other}, the registry says {row.to_version}; `stemma sync` sets it back"
            report.findings.append(AuditFinding("mirror", _name(row), "wrong", detail))
    if not standing:  # a registry that was lost: MLflow's versions carry the digest that the registry gave them
        for (model, alias), digest in sorted(found.items()):
            if digest:
                detail = "MLflow shows it, but the registry has no promotion at all: its database was lost or replaced"
                report.add("mirror", f"{model}@{alias}", "wrong", f"{detail}; restore it from a back-up")
        return
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
