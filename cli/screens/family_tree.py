"""A model's family tree on a terminal."""

from __future__ import annotations

import time

from rich.text import Text
from rich.tree import Tree

from core.numbers import duration, figure, measured
from registry.lineage.catalog import MetricView
from registry.lineage.trace import ArtifactNode, ExecutionNode, Trace


def family_tree(trace: Trace) -> Tree:
    """The model at the top, what it was made from below it, raw data at the leaves."""
    aliases = "".join(f" @{alias}" for alias in trace.aliases)
    made = time.strftime("%Y-%m-%d %H:%M", time.localtime(trace.created))
    tree = Tree(
        Text.assemble((f"{trace.model}:{trace.version}", "bold"), (aliases, "bold green"), f"  registered {made}")
    )
    if trace.metrics:
        metrics = tree.add(Text("measured", style="bold"))
        for metric in trace.metrics:
            metrics.add(_metric(metric))
    _add(tree, "model", trace.root)
    return tree


def _metric(metric: MetricView) -> Text:
    beside = ", ".join(f"{name} {figure(value)}" for name, value in metric.baselines.items())
    return Text.assemble(
        (f"{metric.name} {measured(metric.value, metric.stderr)}", "bold" if metric.headline else ""),
        (f"  ({beside})" if beside else "", "dim"),
        (f"  by {metric.stage}", "dim"),
    )


def _add(branch: Tree, role: str, node: ArtifactNode) -> None:
    size = f"  {node.size / 1e6:,.1f} MB" if node.size else ""
    files = f" in {node.files} files" if node.files else ""
    line = Text.assemble(
        (f"{role}: ", "dim"), (node.name, "bold"), f"  {node.hash_algo} {node.digest[:16]}{size}{files}"
    )
    if node.model and role != "model":
        line.append(f"  {node.model}", style="bold green")
    if node.origin:
        line.append(f"  brought from {node.origin}", style="green")
    if node.repeated:
        line.append("  (shown above)", style="dim")
    if not node.complete:
        line.append("  what made it is not known", style="red")
    below = branch.add(line)
    if node.made_by is not None:
        made_by = below.add(_execution(node.made_by))
        for input_role, artifact in node.made_by.inputs:
            _add(made_by, input_role, artifact)


def _execution(node: ExecutionNode) -> Text:
    text = Text.assemble(("made by ", "dim"), (node.stage, "bold cyan"), f" {node.component_version}")
    if node.seconds is not None:
        text.append(f"  {duration(node.seconds)}")
    if node.device:
        text.append(f" on {node.device}")
    if node.tokens:
        text.append(f"  {figure(node.tokens)} tokens")
    facts = [*([f"seed {node.seed}"] if node.seed is not None else []), f"fingerprint {node.fingerprint}"]
    if node.git_commit:
        facts.append(f"commit {node.git_commit[:10]}{' with uncommitted edits' if node.git_dirty else ''}")
    if node.run:
        facts.append(f"run {node.run}{f' (reused by {_named(node.reused_by)})' if node.reused_by else ''}")
    if node.mlflow_run_id:
        facts.append(f"MLflow {node.mlflow_run_id}")
    if node.prefect_flow_run_id:
        task = f", task run {node.prefect_task_run_id}" if node.prefect_task_run_id else ""
        facts.append(f"Prefect flow run {node.prefect_flow_run_id}{task}")
    text.append("\n" + "  ".join(facts), style="dim")
    changed = ", ".join(f"{name}={value}" for name, value in node.non_default.items())
    if changed:
        text.append(f"\nchanged from the defaults: {changed}", style="dim")
    if mixture := node.environment.get("mixture"):
        text.append(f"\nmixture {mixture}", style="dim")
    for warning in node.warnings:
        text.append(f"\nwarned: {warning}", style="yellow")
    return text


def _named(runs: list[str]) -> str:
    """The newest few runs by name, the others counted."""
    named = ", ".join(runs[-3:])
    return named if len(runs) <= 3 else f"{named} and {len(runs) - 3} more"
