"""What the stage curate can make itself, without files of the user: the tasks' parameters and their data.

``curate.instructions.source`` or ``curate.labels.source`` is the name of a task; its parameters are the section of that
name beside it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Literal

from pydantic import Field

from components.contract import StageParameters
from components.tasks.contract import TaskData
from components.tasks.signatures.parameters import SignaturesParameters
from components.tasks.topics import TopicsParameters

InstructionTask = Literal["signatures"]
LabelTask = Literal["topics"]


class InstructionTasks(StageParameters):
    """Parameters of the tasks that make instructions, by name."""

    signatures: SignaturesParameters = Field(
        SignaturesParameters(), description="questions about function signatures (source: signatures)"
    )


class LabelTasks(StageParameters):
    """Parameters of the tasks that make labels, by name."""

    topics: TopicsParameters = Field(TopicsParameters(), description="topics of docstrings (source: topics)")


def make_instructions(
    name: InstructionTask, parameters: InstructionTasks, shares: Mapping[str, float], seed: int
) -> TaskData:
    """The data of a task. ``shares``: of its groups, by split; the rest is instruct. Raises InputProblem."""
    # Imported when it is needed: the command line reads the parameters above in milliseconds.
    match name:
        case "signatures":
            from components.tasks.signatures.instructions import build

            return build(parameters.signatures, shares, seed)


def make_labels(
    name: LabelTask,
    parameters: LabelTasks,
    documents: Iterable[Mapping[str, str]],
    shares: Mapping[str, float],
    seed: int,
) -> tuple[dict[str, list[dict[str, str]]], dict[str, Any]]:
    """Rows (text, label, group) of a task by split, made of corpus rows, and the report. Raises InputProblem."""
    match name:
        case "topics":
            from components.tasks.topics import label

            return label(documents, shares, parameters.topics, seed)


def label_source(name: LabelTask) -> tuple[str, str]:
    """Which documents a task labels: the type of their source, and their kind."""
    return {"topics": ("python_docs", "docstring")}[name]
