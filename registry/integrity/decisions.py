"""The part of an audit about decisions: their rows, what was signed of them, and what the repository knows."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from core import keys, layout
from core.errors import InputProblem
from core.workspace import Workspace
from registry.db.schema import Execution, ExecutionContext, Promotion, Signature, SignedReceipt, SignedStatement
from registry.integrity import anchor, signed_receipts
from registry.integrity.chain import BrokenLink, Link, broken_link, links
from registry.integrity.report import AuditReport
from registry.integrity.statements import PROMOTION, START, differing_metrics, lost_history, promotion_body
from registry.lineage import receipts
from registry.lineage.recording import execution_key
from registry.promotion.releases import RELEASE

RESTORE = "restore the registry from a back-up"


def check(workspace: Workspace, session: Session, report: AuditReport) -> None:
    """Add what is wrong with the promotions, in this order: the chain of their hashes and the verdicts' files, which
    repeat them; what was signed of each row; what the repository knows; the signatures of the versions that were
    promoted; the receipts of the executions behind everything."""
    rows = links(session)
    promotions = session.scalars(select(Promotion).order_by(Promotion.id)).all()
    report.promotions = len(promotions)
    broken = broken_link(rows)
    _check_rows(workspace, session, promotions, broken, report)
    trusted = keys.trusted_keys(workspace)
    statements = session.scalars(select(SignedStatement).order_by(SignedStatement.id)).all()
    if statements:
        _check_statements(session, rows, statements, trusted, report)
    elif rows and anchor.newest(workspace.root) is None:
        report.add("statement", _count(len(rows)), "unsigned", "they are older than signatures, and nothing vouches "
                   "for them yet; `stemma sync` signs the head as adopted")  # fmt: skip
    _check_anchor(workspace, session, statements, trusted, report)
    signed = set(session.scalars(select(Signature.version_id)))
    for version in dict.fromkeys(row.to_version for row in promotions if row.action != "reject"):
        if version.id not in signed:
            report.add("signature", str(version), "wrong",
                       f"it was promoted, which signs it, and it has no signature: the row was deleted; {RESTORE}, or "
                       "look at its files and promote it again")  # fmt: skip
    if statements:
        _check_receipts(workspace, session, trusted, report)


def _check_rows(
    workspace: Workspace, session: Session, rows: Sequence[Promotion], link: BrokenLink | None, report: AuditReport
) -> None:
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
            report.add("chain", subject, "wrong", f"{detail}; {RESTORE}")
        elif differences:
            report.add("verdict", subject, "wrong", "; ".join(differences))
        if unreadable:
            report.add("verdict", subject, *unreadable)
    known = {row.hash for row in rows}
    for name in session.scalars(
        select(ExecutionContext.name).where(ExecutionContext.type == RELEASE).order_by(ExecutionContext.id)
    ):
        if name not in known and (link is None or link.why != "content"):
            report.add("chain", f"promotion with hash {name[:12]}", "wrong", f"its row was deleted; {RESTORE}")


def _against_its_verdict(workspace: Workspace, row: Promotion) -> tuple[list[str], tuple[Any, str] | None]:
    """(where the row differs from its verdict's file, why that file cannot be compared)."""
    path = workspace.home / row.gate.name
    if not path.is_file():
        return [], ("missing", f"its verdict {path} does not exist")
    content = path.read_bytes()
    if hashlib.sha256(content).hexdigest() != row.gate.digest:
        return [], ("wrong", f"its verdict {path} was changed; restore it from a backup")
    try:
        verdict = json.loads(content)
        request = verdict.get("request") or {}  # the first release kept none
    except (ValueError, RecursionError, AttributeError):
        return [], ("wrong", f"its verdict {path} is not readable; restore it from a backup")
    own = {
        "model": row.model.name,
        "version": row.to_version.version,
        "digest": row.to_version.artifact.digest,
        "alias": row.alias,
        "champion": row.from_version.version if row.from_version else None,
        "passed": row.passed,
    }
    kept = {name: verdict.get(name) for name in own}
    own |= {name: getattr(row, name, None) for name in request}
    kept |= request
    other = [name for name in own if own[name] != kept[name]]
    return [f"{name} is {own[name]!r}, the verdict says {kept[name]!r}" for name in other], None


def _check_statements(
    session: Session,
    rows: list[Link],
    statements: Sequence[SignedStatement],
    trusted: dict[str, str],
    report: AuditReport,
) -> None:
    """Every row after the start of signatures has a statement by a trusted key that says the same."""
    start, number = statements[0], 0
    body = start.signed.said
    if start.kind != START or body.get("kind") != START:
        report.add("statement", "the start of signatures", "wrong", f"its statement was deleted; {RESTORE}")
    elif (why := keys.fault(trusted, start.signed)) is not None:
        report.add("statement", "the start of signatures", "wrong", why)
    else:
        number = body["promotions"]
        if number and (len(rows) < number or rows[number - 1].hash != body["head"]):
            report.add("statement", "the start of signatures", "wrong",
                       f"the first {_count(number)} are not those that were adopted; {RESTORE}")  # fmt: skip
        elif number:
            report.add("statement", _count(number), "unsigned",
                       f"adopted at {body['time'][:19]}, unsigned before: nothing vouches for what happened to them "
                       f"until then; since then key {start.key_id[:12]} does")  # fmt: skip
    found = {row.promotion_id: row for row in statements if row.kind == PROMOTION}
    for count, link in enumerate(rows[number:], number + 1):
        statement = found.pop(link.id, None)
        if statement is None:
            report.add("statement", str(link), "wrong", f"it is not signed: it was written without the key; {RESTORE}")
            continue
        why = keys.fault(trusted, statement.signed)
        said = statement.signed.said
        expected = promotion_body(link, count)
        differing = [key for key in expected if said.get(key) != expected[key]]
        if why is None and differing:
            why = f"what was signed says otherwise of {', '.join(differing)}"
        if why is None and (metrics := differing_metrics(session, said.get("metrics", []))):
            why = f"the metrics it rests on were changed: {'; '.join(metrics)}"
        if why is not None:
            report.add("statement", str(link), "wrong", f"{why}; {RESTORE}")
    for statement in found.values():
        title = anchor.subject(statement.signed)
        report.add("statement", title, "wrong", f"it was signed, and its row is not there; {RESTORE}")


def _check_anchor(
    workspace: Workspace,
    session: Session,
    statements: Sequence[SignedStatement],
    trusted: dict[str, str],
    report: AuditReport,
) -> None:
    """The database has every statement that the repository has."""
    known, here = anchor.read(workspace.root), {row.signed for row in statements}
    for each in known:
        if (why := keys.fault(trusted, each)) is not None:
            report.add("anchor", anchor.HISTORY, "wrong", f"an entry of it: {why}; fetch it again from another clone")
            return
    lacking = [each for each in known if each not in here and not anchor.is_recorded(session, each)]
    if known and lacking:
        report.add("anchor", "the registry's history", "wrong", lost_history(known[-1]))
        for each in lacking:
            if each.said.get("kind") == PROMOTION:
                report.add("anchor", anchor.subject(each), "wrong", "it was signed, and the database does not have it")
    elif len(known) < len(here):
        what = "lacks the last entries"
        if not known:
            what = "is not in this repository, so a history that was cut off would not show"
        report.add("anchor", anchor.HISTORY, "behind" if known else "unchecked",
                   f"it {what}; bring it (git fetch REMOTE 'refs/stemma/*:refs/stemma/*') or let `stemma sync` write it"
        )  # fmt: skip


def _check_receipts(workspace: Workspace, session: Session, trusted: dict[str, str], report: AuditReport) -> None:
    """The registry says of executions what their receipts say, and the workspace's receipts are those recorded."""
    newest, changed = signed_receipts.adopted(session, trusted)
    if changed:
        report.add("receipt", "executions from before signatures", "wrong", f"{changed}; {RESTORE}")
    executions = session.scalars(select(Execution).where(Execution.state == "COMPLETE").order_by(Execution.id)).all()
    report.receipts = len(executions)
    older = [row for row in executions if row.id <= newest and session.get(SignedReceipt, row.id) is None]
    if older and not changed:
        report.add("receipt", f"{len(older)} execution{'s' if len(older) > 1 else ''}", "unsigned",
                   "adopted, unsigned before: made before receipts were signed")  # fmt: skip
    for execution, why in signed_receipts.faults(session, trusted, executions, newest):
        report.add("receipt", f"{execution.stage}, execution {execution.id}", "wrong", f"{why}; {RESTORE}, or make it "
                   f"again: dvc repro --force --single-item {execution.stage}, then stemma sync")  # fmt: skip
    try:
        records = receipts.read(workspace.root).stages
    except InputProblem:
        return
    by_key = {row.key: row.id for row in executions}
    for record in records:
        problem = signed_receipts.problem(record, trusted)
        known = by_key.get(execution_key(record.stage, record.receipt))
        kept = session.get(SignedReceipt, known) if known is not None else None
        if problem is None and kept is not None and (record.signed is None or record.signed.body != kept.body):
            problem = (
                f"receipt of {record.stage}: not the one that was signed and recorded; bring it back: dvc checkout"
            )
        if problem is not None:
            report.add("receipt", f"{layout.slug(record.stage)}.json in the workspace", "wrong", problem)


def _count(number: int) -> str:
    return f"{number} promotion{'' if number == 1 else 's'}"
