"""Whether everything still is what it was: decisions, signatures, bytes, and what MLflow shows of it."""

from registry.audit.contents import check_contents
from registry.audit.decisions import check_decisions
from registry.audit.findings import AuditReport, Finding
from registry.audit.mirror import check_mirror
from registry.database import open as open_registry
from registry.workspace import Workspace

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
