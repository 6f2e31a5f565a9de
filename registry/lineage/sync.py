"""From the workspace's files to the registry: idempotent, in one transaction, safe in two processes at once."""

from __future__ import annotations

import json
import re
from collections import defaultdict
from collections.abc import Collection, Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from core import layout
from core.errors import GitError, KeyProblem, WorkspaceError
from core.keys import trusted_keys
from core.workspace import Workspace
from registry.db.database import open as open_registry
from registry.db.schema import Association, ExecutionContext, Snapshot
from registry.errors import UnsoundHistory
from registry.integrity import anchor, signed_receipts, statements
from registry.lineage import receipts
from registry.lineage.receipts import StageRecord, WorkspaceRecord
from registry.lineage.recording import (
    associate,
    record_artifact,
    record_cached,
    record_context,
    record_execution,
    record_failure,
)
from registry.promotion.mirror import MirrorReport, mirror
from registry.store.run_locks import running
from registry.store.snapshot import commit_tree, left_out_words, not_kept, record_snapshot, secrets_left_out

_UNUSABLE = re.compile(r"[^\w\-. :/]")  # characters that MLflow refuses in a metric's name


@dataclass
class SyncReport:
    """What a sync found.

    Attributes:
        runs: pipeline runs that something new was recorded under, by name.
        executed: stages whose execution was new to the registry.
        failed: stages whose failure was new to the registry.
        cached: stages recorded as needing no work in this pipeline run.
        versions: new model versions, ``model:version``.
        snapshots: git commit of the tree, for each of ``runs``.
        problems: what could not be recorded, and what to do about it.
        mirror: what was updated in MLflow, or why that is incomplete.
    """

    runs: list[str] = field(default_factory=list)
    executed: list[str] = field(default_factory=list)
    failed: list[str] = field(default_factory=list)
    cached: list[str] = field(default_factory=list)
    versions: list[str] = field(default_factory=list)
    snapshots: dict[str, str] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)
    mirror: MirrorReport = field(default_factory=MirrorReport)

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


def sync(
    workspace: Workspace,
    *,
    run: str | None = None,
    stages: Collection[str] | None = None,
    parent_run_id: str | None = None,
    update_mlflow: bool = True,
) -> SyncReport:
    """Record the workspace's finished stages, then update MLflow.

    Args:
        run: name of the pipeline run that just ended. Stages that it did not have to execute are recorded as CACHED.
            Without it, executions of no run (a bare ``dvc repro``) get a run named after ``dvc.lock``.
        stages: the stages the run walked; all of ``dvc.lock`` where not given.
        parent_run_id: the pipeline run's MLflow run, where the caller knows it.
        update_mlflow: false leaves that to a later sync.

    Raises:
        RegistryError: the registry's database cannot be used. That MLflow cannot be reached is no error: see
            ``SyncReport.mirror``.
    """
    record = receipts.read(workspace.root)
    edited, unsigned = _not_as_signed(workspace, record)
    record = replace(record, stages=tuple(stage for stage in record.stages if stage.stage not in edited))
    failures = receipts.read_failures(workspace.home)
    report = SyncReport(problems=[*record.problems, *edited.values()])
    with running(workspace.home), open_registry(workspace.registry_url) as registry:
        # Kept before it is recorded: killed in between, a version would have no tree that it can be restored from.
        commit = _keep(workspace, run, report) if run is not None and record.stages else None
        with registry.write() as session:
            try:
                statements.begin(workspace, session)
            except KeyProblem as error:
                report.problems.append(str(error))
            except UnsoundHistory as error:
                # Versions would get other numbers, and snapshots of runs other trees, than those that were lost.
                report.problems.append(f"nothing was recorded: {error}")
                return report
            _record(session, workspace, record, report, run, stages, parent_run_id)
            if run is not None and commit is not None:
                record_snapshot(session, run, commit)
                report.snapshots[run] = commit
            if names := [stage for stage in report.executed if stage in unsigned]:
                report.problems.append(
                    f"receipts of {', '.join(names)}: not signed by a key that is trusted here, so the gate refuses "
                    "what rests on them; make them again (dvc repro --force --single-item STAGE), or trust their key"
                )
            for receipt in failures.values():
                execution, new = record_failure(session, receipt)
                if receipt.run:
                    context = record_context(session, receipt.run, mlflow_run_id=receipt.mlflow.parent_run_id)
                    associate(session, context, execution)
                report.failed += [receipt.stage] if new else []
        if why := anchor.extend(workspace, registry):
            report.problems.append(f"the signed history was not brought into git: {why}")
        for path in failures:  # now that they are committed; one that is left is found again, and known
            path.unlink(missing_ok=True)
        for name in report.runs:
            if name != run and (commit := _keep(workspace, name, report)) is not None:
                with registry.write() as session:
                    record_snapshot(session, name, commit)
                report.snapshots[name] = commit
        hidden = (line for commit in report.snapshots.values() for line in secrets_left_out(workspace.root, commit))
        if lines := list(dict.fromkeys(hidden)):
            report.problems.append(left_out_words(lines))
        if report.snapshots and (large := not_kept(workspace.root)):
            report.problems.append(
                f"left out of the snapshot, because they are too large for git: {', '.join(large)}; use `dvc add`, or "
                "name them in .gitignore"
            )
        if update_mlflow:
            report.mirror = mirror(workspace, registry)
    return report


def _keep(workspace: Workspace, run: str, report: SyncReport) -> str | None:
    """The commit of the tree as a run's; ``None``, with the reason among the problems, where there is none."""
    try:
        return commit_tree(workspace, run)
    except (GitError, WorkspaceError) as error:
        report.problems.append(f"run {run} has no snapshot, so it cannot be restored: {error}")
        return None


def _not_as_signed(workspace: Workspace, record: WorkspaceRecord) -> tuple[dict[str, str], set[str]]:
    """(problem by stage of the receipts that were edited, stages whose receipts no trusted key signed)."""
    try:
        trusted = trusted_keys(workspace)
    except KeyProblem:
        return {}, {stage.stage for stage in record.stages}
    edited = {stage.stage: why for stage in record.stages if (why := signed_receipts.problem(stage, trusted))}
    unsigned = {stage.stage for stage in record.stages if stage.signed is None or stage.signed.key_id not in trusted}
    return edited, unsigned


def _record(
    session: Session,
    workspace: Workspace,
    record: WorkspaceRecord,
    report: SyncReport,
    run: str | None,
    stages: Collection[str] | None,
    parent_run_id: str | None,
) -> None:
    for item in record.raw:
        record_artifact(session, item)
    own = run is not None and workspace.root.is_relative_to(layout.worktrees(workspace.home))  # the run's own tree
    contexts: dict[str, ExecutionContext] = {}
    members: defaultdict[str, set[str]] = defaultdict(set)  # stages that each run executed or found cached
    for stage in record.stages:
        execution, new, versions = record_execution(session, stage)
        report.versions += [str(version) for version in versions]
        # A stage started by hand, without any pipeline run, is filed under the state of the workspace it led to.
        name = stage.receipt.run or _run_of(session, execution.id) or f"repro-{record.lock_digest[:12]}"
        context = record_context(session, name, mlflow_run_id=stage.receipt.mlflow.parent_run_id)
        associate(session, context, execution)
        members[name].add(stage.stage)
        if new:
            report.executed.append(stage.stage)
        if new or not _has_snapshot(session, context):  # an earlier sync may have died before it took one
            contexts[name] = context
        if run is not None and name != run and (stages is None or stage.stage in stages):
            context = record_context(session, run, mlflow_run_id=parent_run_id)
            cached, new = record_cached(session, context, execution)
            associate(session, context, cached)
            report.cached.append(stage.stage)
            members[run].add(stage.stage)
            if new:
                contexts[run] = context
    if run is not None and record.stages:
        contexts[run] = record_context(session, run, mlflow_run_id=parent_run_id)
    for name, context in contexts.items():
        if name == run or context.summary is None:
            _summarize(context, _with_inputs(record.stages, members[name]))
    report.runs = sorted(
        name for name in contexts
        if name == run or not (own or _has_its_own_tree(session, contexts[name], record.stages))
    )  # fmt: skip


def _has_its_own_tree(session: Session, context: ExecutionContext, stages: Collection[StageRecord]) -> bool:
    """Whether a run's stages ran in a tree made of its snapshot; where they are found elsewhere, DVC's run cache gave
    them, and that tree is not the run's."""
    commits = {stage.receipt.git.commit for stage in stages if stage.receipt.run == context.name}
    began = session.scalars(select(Snapshot.commit_sha).filter_by(context_id=context.id)).first()
    return began in commits


def _has_snapshot(session: Session, context: ExecutionContext) -> bool:
    return session.scalars(select(Snapshot.id).filter_by(context_id=context.id)).first() is not None


def _run_of(session: Session, execution_id: int) -> str | None:
    """The pipeline run an execution belongs to already."""
    return session.scalars(
        select(ExecutionContext.name)
        .join(Association)
        .where(Association.execution_id == execution_id)
        .order_by(ExecutionContext.id)
    ).first()


def _with_inputs(stages: Collection[StageRecord], names: set[str]) -> list[StageRecord]:
    """The stages called ``names``, and all whose outputs these read, directly or not."""
    makers = {(made.path, made.digest): stage for stage in stages for made in stage.outputs}
    wanted, waiting = set(names), [stage for stage in stages if stage.stage in names]
    for stage in waiting:  # grows meanwhile
        for read in stage.inputs:
            maker = makers.get((read.path, read.digest))
            if maker is not None and maker.stage not in wanted:
                wanted.add(maker.stage)
                waiting.append(maker)
    return [stage for stage in stages if stage.stage in wanted]


def _summarize(context: ExecutionContext, stages: Collection[StageRecord]) -> None:
    """Note what MLflow's run of the pipeline run has to show: parameters and final metrics of its stages.

    Of the cached ones too: two pipeline runs side by side would otherwise differ in which rows they have.
    """
    summary: dict[str, dict[str, Any]] = {"parameters": {}, "metrics": {}}
    for stage in stages:
        summary["parameters"] |= flatten(stage.receipt.parameters, f"{stage.receipt.component.name}.")
        if stage.receipt.seed is not None:
            summary["parameters"]["seed"] = str(stage.receipt.seed)
        slug = layout.slug(stage.stage)
        summary["metrics"] |= {
            _UNUSABLE.sub("_", f"{slug}.{metric.name}"): metric.value for metric in stage.receipt.metrics
        }
    if context.summary != summary:
        context.summary = summary
        context.mirrored = False


def flatten(parameters: Mapping[str, Any], prefix: str = "") -> dict[str, str]:
    """Nested parameters under dotted names; lists and nulls as JSON, so that equal values have equal texts."""
    flat: dict[str, str] = {}
    for name, value in parameters.items():
        if isinstance(value, Mapping) and value:
            flat |= flatten(value, f"{prefix}{name}.")
        else:
            flat[prefix + name] = value if isinstance(value, str) else json.dumps(value, sort_keys=True)
    return flat
