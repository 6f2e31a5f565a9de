"""Tasks of the lm-evaluation-harness on a model in memory: two made of the held-out data, and the user's own.

Nothing is fetched from the network unless a task names a remote data set.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import yaml

from components.conversations import control_tokens
from components.evaluate import choices, harness
from components.evaluate.harness import Outcomes
from components.evaluate.held_out import Sample
from components.evaluate.subject import Subject
from components.finetuning.records import Record, texts
from core.errors import InputProblem

TASK_FILES = Path(__file__).parent / "tasks"


def measure_tasks(
    subject: Subject, test: Sample, records: Sequence[Record], manager: Any
) -> tuple[dict[str, Any], dict[str, list[dict[str, Any]]]]:
    """Record the metrics of the harness's tasks; what the report shows, and the items of tasks from elsewhere."""
    context = subject.context
    parameters = context.parameters.lm_eval
    # The harness makes tokens of strings, in which a spelled control token would become one.
    spelling = control_tokens(subject.tokenizer)
    plain = [record for record in records if not any(map(spelling.search, texts(record)))]
    items = choices.build(plain, context.seed)[: parameters.limit]
    sampled = [document for document in test.documents if not spelling.search(document.text)][: parameters.limit]
    # The inputs that our own tasks are made of.
    sources = {"instruction_choice": "instructions", "heldout_documents": "corpus"}
    outcome, refused = run_tasks(
        subject,
        parameters.tasks,
        {
            "instruction_choice": choices.as_rows(items, chat=subject.chat, end=subject.tokenizer.eos_token),
            "heldout_documents": [{"text": document.text, "group": document.group} for document in sampled],
        },
        manager,
    )
    subject.items.extend(outcome.items)
    if "instruction_choice" in parameters.tasks and not items:
        context.warn("lm_eval's instruction_choice was left out: no test instruction has a right and a wrong answer")
    for task, why in refused.items():
        context.warn(f"lm_eval's task {task} was left out: {why}")
    for metric in outcome.metrics:
        context.record(harness.as_metric(metric, sources.get(metric.task)))
    report = {
        "limit": parameters.limit,
        "chance": choices.chance_level(items) if items else None,
        "tasks": [asdict(metric) for metric in outcome.metrics],
        "refused": refused,
    }
    return report, {task: rows for task, rows in outcome.asked.items() if task not in sources}


def find_tasks(tasks: Sequence[str], include_path: Path | None) -> Any:
    """The harness's catalogue, in which all ``tasks`` are.

    Args:
        include_path: folder with the user's task files.

    Raises:
        InputProblem: there are no such tasks.
    """
    from lm_eval.tasks import TaskManager

    logging.getLogger("lm_eval").setLevel(logging.ERROR)
    own = _own()
    manager = TaskManager(include_path=include_path, include_defaults=False)
    missing = [task for task in tasks if task not in own and task not in manager.all_tasks]
    if missing:
        found = sorted([*own, *manager.all_tasks])
        # Reading the harness's own thousands of task files takes seconds: only where one of them may be meant.
        manager = TaskManager(include_path=include_path)
        if unknown := [task for task in missing if task not in manager.all_tasks]:
            raise InputProblem([
                f"evaluate.lm_eval.tasks: there is no task {task!r}; built here or found under include_path: "
                f"{', '.join(found)}; for the harness's own see `lm_eval ls tasks`"
                for task in unknown
            ])  # fmt: skip
    return manager


def _own() -> dict[str, Path]:
    """The tasks that are made of the held-out data."""
    return {path.stem: path for path in sorted(TASK_FILES.glob("*.yaml"))}


def run_tasks(
    subject: Subject, tasks: Sequence[str], rows: Mapping[str, Sequence[Mapping[str, Any]]], manager: Any
) -> tuple[Outcomes, dict[str, str]]:
    """Run ``tasks`` one after another; return what came of them in order, and the reason for each that was left out.

    Args:
        rows: items of the tasks in ``TASK_FILES``; such a task without rows is not run.
        manager: of :func:`find_tasks`.
    """
    parameters = subject.context.parameters.lm_eval
    own = _own()
    outcome, refused = Outcomes([], [], {}), {}
    model = None
    for task in tasks:
        if task in own and not rows.get(task):
            continue
        subject.raise_if_stopping()
        specification: Any = task
        if task in own:
            specification = yaml.safe_load(own[task].read_text(encoding="utf-8"))
            specification["dataset_kwargs"] = _write(task, rows[task], subject.context.scratch)
        try:
            loaded = manager.load([specification])
        except Exception as error:  # whatever the code beside a task file raises, a missing data set among it
            refused[task] = f"it cannot be loaded: {harness.reason(error)}"
            continue
        if why := harness.refusal(list(loaded["tasks"].values())):
            refused[task] = why
            continue
        model = model or harness.language_model(subject, "lm_eval.batch_size", parameters.batch_size)
        try:
            found = harness.run(
                model, loaded, chat=subject.chat, fewshot=None, limit=parameters.limit, seed=subject.context.seed
            )
        except Exception as error:  # the task's own code, or a prompt that the model does not take
            refused[task] = f"it failed: {harness.reason(error)}"
            continue
        outcome.metrics.extend(found.metrics)
        outcome.items.extend(found.items)
        outcome.asked.update(found.asked)
    return outcome, refused


def _write(task: str, rows: Sequence[Mapping[str, Any]], scratch: Path) -> dict[str, Any]:
    """Items as a jsonl file; arguments under which `datasets` reads it, with its cache beside it."""
    path = scratch / f"{task}.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return {"data_files": {"test": str(path)}, "cache_dir": str(scratch / "datasets")}
