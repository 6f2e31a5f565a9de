"""Every deployment, one entry each: a flow, what it is for, its form's first values, when it starts by itself."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from core.workspace import Workspace
from flows.deployments import form
from flows.retraining import triggers

if TYPE_CHECKING:
    from prefect import Flow
    from prefect.events import DeploymentEventTrigger
    from prefect.schedules import Schedule

TAGS = ("stemma",)


def _nothing(_: Path) -> dict[str, Any]:
    return {}


@dataclass(frozen=True)
class FlowDeployment:
    """One deployment; its name is its flow's.

    Attributes:
        entrypoint: ``module:function`` of the flow, below the workspace's root.
        description: what the UI says of it, in markdown.
        parameters: the form's first values, from the workspace's root.
        schedules: when runs start by themselves, from the workspace's root. Without it, those that were
            set in the UI stay.
        triggers: events that start a run.
    """

    entrypoint: str
    description: str
    parameters: Callable[[Path], dict[str, Any]] = field(default=_nothing)
    schedules: Callable[[Path], list[Schedule]] | None = None
    triggers: Callable[[], list[DeploymentEventTrigger]] = field(default=list)

    @property
    def name(self) -> str:
        return self.entrypoint.partition(":")[2]

    @property
    def file(self) -> str:
        """The entrypoint as ``prefect.yaml`` has it: ``flows/lifecycle.py:lifecycle``."""
        module, _, function = self.entrypoint.partition(":")
        return f"{module.replace('.', '/')}.py:{function}"

    def flow(self) -> Flow:
        """The flow itself; imports Prefect."""
        module, _, function = self.entrypoint.partition(":")
        return getattr(import_module(module), function)


def _whole_file(root: Path) -> dict[str, Any]:
    shown = form.values(root)
    return {"common": form.common(shown), "parameters": shown, "drawn": form.drawn(Workspace.find(root).home, shown)}


DEPLOYMENTS = (
    FlowDeployment(
        "flows.lifecycle:lifecycle",
        "Raw text to a promoted model, all or part of the way; only what changed is run. Each run works in a git "
        "worktree of its own, so your files stay as they are.",
        parameters=_whole_file,
    ),
    FlowDeployment(
        "flows.retrain:retrain",
        "Looks for raw data that the champion was not made of. Nothing new: it ends at once. Enough of it: a candidate "
        "is trained on it, in a tree of its own, and put before the gate. By `retrain.cron` of `params.yaml`, on the "
        "event `stemma.data.changed`, or by hand.",
        schedules=triggers.schedules,
        triggers=triggers.triggers,
    ),
    FlowDeployment(
        "flows.export_feedback:export_feedback",
        "Makes files below data/raw/feedback of the votes, thumbs, stars and edits that people allow to be trained on, "
        "and sends the event that may start a retraining. Set a schedule here to do it by itself.",
    ),
    FlowDeployment(
        "flows.sweep:sweep",
        "Tries several values of parameters, each in a run of its own, and compares a metric. The same form again goes "
        "on where a killed sweep ended; `stemma sweep apply` writes the best values into `params.yaml`.",
    ),
    FlowDeployment(
        "flows.scale:scale",
        "Trains a ladder of small models, each size on each number of tokens, fits a scaling law to their losses, and "
        "says what size on how many tokens a budget is best spent on. The same form again goes on where a killed run "
        "ended.",
    ),
    FlowDeployment(
        "flows.promote:promote",
        "Puts a version before the gate of `params.yaml`. What passes takes the alias; with `promotion.approval: "
        "required` the run waits, Suspended, until a person has answered: **Resume** opens the question, with what the "
        "gate saw.",
    ),
    FlowDeployment(
        "flows.evaluate:evaluate",
        "Measures a registered model on the present evaluation set, or on that of an earlier run.",
    ),
    FlowDeployment(
        "flows.rollback:rollback",
        "Gives an alias back to a version that held it before, once its files and signature are verified.",
    ),
    FlowDeployment(
        "flows.sync:sync",
        "Records in the registry what `dvc repro` made, and sends MLflow what it has not got yet.",
    ),
)
