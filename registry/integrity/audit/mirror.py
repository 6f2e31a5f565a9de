"""MLflow's aliases: they have to show what the registry says."""

from __future__ import annotations

from sqlalchemy import create_engine, make_url, text

from core.errors import redacted
from core.workspace import Workspace, sqlite_path
from registry.db.database import Registry
from registry.db.schema import AliasMirror, Promotion
from registry.integrity.audit.findings import AuditReport, Finding
from registry.promotion.aliases import current_aliases
from registry.promotion.mirror import connect, unreachable

ALIASES = text(
    "SELECT aliases.name, aliases.alias, coalesce(tags.value, '') FROM registered_model_aliases aliases "
    "LEFT JOIN model_version_tags tags ON tags.name = aliases.name AND tags.version = aliases.version "
    "AND tags.key = 'stemma.digest'"
)


def check_mirror(workspace: Workspace, registry: Registry, report: AuditReport) -> None:
    """Add what MLflow shows otherwise. An alias that somebody moved there is set back by the next sync."""
    with registry.read() as session:
        standing = current_aliases(session)
        told = {(row.model_id, row.alias): row.promotion_id for row in session.query(AliasMirror)}
        digests = {row.id: row.to_version.artifact.digest for row in standing}
        for row in standing:
            _ = str(row.to_version)
        session.expunge_all()
    report.aliases = len(standing)
    behind = [row for row in standing if told.get((row.model_id, row.alias)) != row.id]
    for row in behind:
        detail = f"MLflow has not been told that it is {row.to_version}; `stemma sync` tells it when it answers"
        report.findings.append(Finding("mirror", _name(row), "behind", detail))
    if not standing:
        return
    why = unreachable(workspace.mlflow_uri)
    try:
        found = None if why else _shown(workspace)
    except Exception as error:  # whatever a server, a network or a damaged database makes of it
        words = str(error).strip().splitlines() or [""]
        found, why = None, redacted(f"{type(error).__name__}: {words[0][:300]}")
    if found is None:
        detail = f"MLflow could not be asked ({why}); audit again when it answers"
        report.findings.append(Finding("mirror", "MLflow's aliases", "unchecked", detail))
        return
    for row in standing:
        shown = found.pop((row.model.name, row.alias), None)
        if row not in behind and shown != digests[row.id]:
            with registry.write() as session:
                if (mirrored := session.get(AliasMirror, (row.model_id, row.alias))) is not None:
                    session.delete(mirrored)
            other = f"digest {shown[:12]}" if shown else "nothing"
            detail = f"MLflow shows {other}, the registry says {row.to_version}; `stemma sync` sets it back"
            report.findings.append(Finding("mirror", _name(row), "wrong", detail))
    models = {row.model.name for row in standing}
    for model, alias in sorted(found):
        if model in models:
            detail = "MLflow shows it, and nobody promoted anything to it; delete the alias in MLflow"
            report.findings.append(Finding("mirror", f"{model}@{alias}", "wrong", detail))


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
