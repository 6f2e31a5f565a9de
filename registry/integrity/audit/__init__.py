"""Whether everything still is what it was: decisions, signatures, bytes, and what MLflow shows of it."""

from core.workspace import Workspace
from registry.db.database import open as open_registry
from registry.integrity.audit.contents import check_contents
from registry.integrity.audit.decisions import check_decisions
from registry.integrity.audit.findings import AuditReport, Finding
from registry.integrity.audit.mirror import check_mirror

__all__ = ["AuditReport", "Finding", "audit"]


def audit(workspace: Workspace) -> AuditReport:
    """Look at every promotion, every artifact's bytes on this machine, every signature and every alias.

    Raises:
        DatabaseError: the registry's database cannot be used.
        DvcFailed: DVC does not say where its cache is.
    """
    report = AuditReport()
    with open_registry(workspace.registry_url) as registry:
        with registry.read() as session:
            check_decisions(workspace, session, report)
            check_contents(workspace, session, report)
        check_mirror(workspace, registry, report)
    return report
