"""Tasks of the lm-evaluation-harness on a model in memory: two made of the held-out data, and the user's own.

Nothing is fetched from the network unless a task names a remote data set.
"""

from __future__ import annotations

import json
import logging
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from components.contract import Metric
from components.conversations import control_tokens
from components.evaluate import choices
from components.evaluate.contamination import compare_tasks
from components.evaluate.held_out import Sample
from components.evaluate.items import Item, identities
from components.evaluate.subject import Subject
from components.finetuning.records import Record, texts
from components.statistics import clustered_stderr, ratio_stderr
from core.errors import InputProblem

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

TASK_FILES = Path(__file__).parent / "tasks"


@dataclass(frozen=True)
class TaskMetric:
    """One metric of one task."""

    task: str
    metric: str
    value: float
    stderr: float | None
    n: int
    higher_is_better: bool | None

    @property
    def name(self) -> str:
        """Stable ``snake_case`` name for metrics."""
        return re.sub(r"\W+", "_", f"lm_eval_{self.task}_{self.metric}").strip("_").lower()


def measure_tasks(subject: Subject, test: Sample, records: Sequence[Record], manager: Any) -> dict[str, Any]:
    """Record the metrics of the harness's tasks."""
    context = subject.context
    parameters = context.parameters.lm_eval
    # The harness makes tokens of strings, in which a spelled control token would become one.
    spelling = control_tokens(subject.tokenizer)
    plain = [record for record in records if not any(map(spelling.search, texts(record)))]
    items = choices.build(plain, context.seed)[: parameters.limit]
    sampled = [document for document in test.documents if not spelling.search(document.text)][: parameters.limit]
    # The inputs that our own tasks are made of.
    sources = {"instruction_choice": "instructions", "heldout_documents": "corpus"}
    found, rows, refused, asked = run_tasks(
        subject.model,
        subject.tokenizer,
        tasks=parameters.tasks,
        rows={
            "instruction_choice": choices.as_rows(items, chat=subject.chat, end=subject.tokenizer.eos_token),
            "heldout_documents": [{"text": document.text, "group": document.group} for document in sampled],
        },
        manager=manager,
        chat=subject.chat,
        context=subject.window,
        limit=parameters.limit,
        batch_size=parameters.batch_size,
        seed=context.seed,
        scratch=context.scratch,
    )
    subject.items.extend(rows)
    if "instruction_choice" in parameters.tasks and not items:
        context.warn("lm_eval's instruction_choice was left out: no test instruction has a right and a wrong answer")
    for task, reason in refused.items():
        context.warn(f"lm_eval's task {task} was left out: {reason}")
    for metric in found:
        guessing = {"chance": choices.chance_level(items)} if metric.task == "instruction_choice" else {}
        context.record(
            Metric(
                metric.name,
                metric.value,
                metric.higher_is_better,
                metric.stderr,
                metric.n,
                sources.get(metric.task),
                guessing,
            )
        )
    return {
        "limit": parameters.limit,
        "chance": choices.chance_level(items) if items else None,
        "tasks": [asdict(metric) for metric in found],
        "contamination": compare_tasks(context, asked),
        "refused": refused,
    }


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
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    *,
    tasks: Sequence[str],
    rows: Mapping[str, Sequence[Mapping[str, Any]]],
    manager: Any,
    chat: bool,
    context: int,
    limit: int,
    batch_size: int,
    seed: int,
    scratch: Path,
) -> tuple[list[TaskMetric], list[Item], dict[str, str], dict[str, list[dict[str, Any]]]]:
    """Run ``tasks``; return their metrics in order, what each item got, the reason for each task that was refused, and
    the items of those that are not made of the held-out data.

    Standard errors are clustered by the items' ``group`` where they have one, else the harness's own.

    Args:
        rows: items of the tasks in ``TASK_FILES``; such a task without rows is not run.
        manager: of :func:`find_tasks`.
        chat: put items into the tokenizer's chat template.
        limit: most items of a task.
        scratch: folder for item files and the cache of datasets.
    """
    from lm_eval.evaluator import evaluate
    from lm_eval.models.huggingface import HFLM

    own = _own()
    wanted = [task for task in tasks if task not in own or rows.get(task)]
    if not wanted:
        return [], [], {}, {}
    specifications = [
        {**yaml.safe_load(own[task].read_text(encoding="utf-8")), "dataset_kwargs": _write(task, rows[task], scratch)}
        if task in own
        else task
        for task in wanted
    ]
    loaded, refused = _load(manager, dict(zip(wanted, specifications, strict=True)))
    if not loaded["tasks"]:
        return [], [], refused, {}
    for task in loaded["tasks"].values():
        if task.get_config("num_fewshot") is None:
            task.set_config(key="num_fewshot", value=0)
        task.set_fewshot_seed(seed=seed)
    results = evaluate(
        lm=HFLM(
            pretrained=model,
            tokenizer=tokenizer,
            batch_size=batch_size,
            max_length=context,
            prefix_token_id=tokenizer.eos_token_id,
        ),
        task_dict=loaded,
        limit=limit,
        bootstrap_iters=100,
        apply_chat_template=chat,
    )
    asked = {task: [sample["doc"] for sample in samples] for task, samples in results["samples"].items()}
    return *_metrics(results), refused, {task: items for task, items in asked.items() if task not in own}


def _load(manager: Any, specifications: Mapping[str, Any]) -> tuple[dict[str, dict[str, Any]], dict[str, str]]:
    """The tasks that can be run, as the harness takes them, and the reasons why the others cannot.

    The harness gives up all tasks because of one.
    """
    loaded: dict[str, dict[str, Any]] = {"tasks": {}, "groups": {}, "group_map": {}}
    refused = {}
    for name, specification in specifications.items():
        try:
            found = manager.load([specification])
        except Exception as error:  # whatever the code beside a task file raises, a missing data set among it
            refused[name] = f"it cannot be loaded: {type(error).__name__}: {str(error).strip().partition(chr(10))[0]}"
            continue
        tasks = found["tasks"].values()
        if any(getattr(task, "UNSAFE_CODE", False) for task in tasks):
            refused[name] = "it runs code that the model writes (unsafe_code: true), which is not done here"
        elif any(getattr(task, "MULTIMODAL", False) for task in tasks):
            refused[name] = "it needs a model that takes images or sound"
        else:
            for kind in loaded:
                loaded[kind].update(found[kind])
    return loaded, refused


def _write(task: str, rows: Sequence[Mapping[str, Any]], scratch: Path) -> dict[str, Any]:
    """Items as a jsonl file; arguments under which `datasets` reads it, with its cache beside it."""
    path = scratch / f"{task}.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return {"data_files": {"test": str(path)}, "cache_dir": str(scratch / "datasets")}


def _metrics(results: Mapping[str, Any]) -> tuple[list[TaskMetric], list[Item]]:
    """The metrics of every task, and of those that are means over items what each item got."""
    metrics: list[TaskMetric] = []
    items: list[Item] = []
    for task in sorted(results["results"]):
        values = results["results"][task]
        direction = results["higher_is_better"].get(task) or {}
        for key, value in values.items():
            metric, comma, rule = key.partition(",")
            if not comma or metric.endswith("_stderr") or not isinstance(value, int | float) or math.isnan(value):
                continue
            # A task with several filters has each item once a filter.
            samples = [each for each in results["samples"].get(task, []) if each["filter"] == rule]
            stderr = _clustered(metric, samples)
            reported = values.get(f"{metric}_stderr,{rule}")
            if stderr is None and isinstance(reported, int | float) and math.isfinite(reported):
                stderr = float(reported)
            n = int(values.get("sample_len") or len(samples))
            shown = metric if rule == "none" else f"{metric}_{rule}"
            metrics.append(TaskMetric(task, shown, float(value), stderr, n, direction.get(metric)))
            items += _items(task, metrics[-1].name, metric, samples)
    return metrics, items


def _items(task: str, name: str, metric: str, samples: Sequence[Mapping[str, Any]]) -> Iterator[Item]:
    names = identities(json.dumps(sample["doc"], sort_keys=True, default=str) for sample in samples)
    for item, sample in zip(names, samples, strict=True):
        value, weight = sample.get(metric), 1.0
        if metric == "bits_per_byte" and isinstance(value, tuple) and value[1]:
            weight = float(value[1])
            value = -value[0] / math.log(2) / weight
        if isinstance(value, int | float):  # and no tuple, from which the task computes something else than a mean
            question, answer, reference = _said(sample)
            group = str(sample["doc"].get("group") or item)
            yield Item(task, item, name, float(value), answer, reference, question, group, weight)


def _said(sample: Mapping[str, Any]) -> tuple[str | None, str | None, str | None]:
    """What was asked, answered and right: of multiple choice the most probable choice, of a document nothing."""
    arguments, replies = sample["arguments"], sample["filtered_resps"]
    first = arguments[0]
    if len(first) == 1:
        return None, None, None
    if isinstance(first[1], dict):
        reply = replies[0] if not isinstance(replies[0], list) else replies[0][0]
        return str(first[0]), str(reply), str(sample["target"])
    best = max(range(len(replies)), key=lambda place: replies[place][0])
    right = sample["target"]
    is_place = isinstance(right, int) and 0 <= right < len(arguments)
    return str(first[0]), str(arguments[best][1]), str(arguments[right][1] if is_place else right)


def _clustered(metric: str, samples: Sequence[Mapping[str, Any]]) -> float | None:
    """Clustered error of a mean, or of bits over bytes; ``None`` for other metrics and for items without a group."""
    values: list[Any] = [sample.get(metric) for sample in samples]
    clusters = [sample["doc"].get("group") for sample in samples]
    if not values or any(cluster is None for cluster in clusters):
        return None
    if metric == "bits_per_byte":
        return ratio_stderr([-ll / math.log(2) for ll, _ in values], [size for _, size in values], clusters)
    if all(isinstance(value, int | float) for value in values):
        return clustered_stderr(values, clusters)
    return None
