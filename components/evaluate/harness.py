"""The lm-evaluation-harness on a model in memory: run tasks that are loaded, and read its results.

Standard errors are clustered by the items' ``group`` where they have one, else the harness's own.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal

from components.contract import Metric
from components.evaluate import batches, shares
from components.evaluate.items import Item, identities
from components.statistics import clustered_stderr, ratio_stderr

if TYPE_CHECKING:
    from components.evaluate.subject import Subject

_TOKENS = 1024  # longer items are rare: where `auto` counted too few, the batch is halved

Loaded = dict[str, dict[str, Any]]  # what the harness's TaskManager loads: tasks, groups, group_map


@dataclass(frozen=True)
class TaskMetric:
    """One metric of one task. ``chance`` is what guessing gets, of multiple choice."""

    task: str
    metric: str
    value: float
    stderr: float | None
    n: int
    higher_is_better: bool | None
    chance: float | None = None

    @property
    def name(self) -> str:
        """Stable ``snake_case`` name for metrics."""
        return re.sub(r"\W+", "_", f"lm_eval_{self.task}_{self.metric}").strip("_").lower()


@dataclass(frozen=True)
class Outcomes:
    """What came of tasks: their metrics, what each item got, and the items themselves by task."""

    metrics: list[TaskMetric]
    items: list[Item]
    asked: dict[str, list[dict[str, Any]]]


def as_metric(metric: TaskMetric, eval_set: str | None) -> Metric:
    """As a stage records it."""
    beside = {} if metric.chance is None else {"chance": metric.chance}
    return Metric(metric.name, metric.value, metric.higher_is_better, metric.stderr, metric.n, eval_set, beside)


def language_model(subject: Subject, name: str, batch_size: int | Literal["auto"]) -> Any:
    """The subject as the harness calls a model; ``name`` is the parameter's of its batches."""
    tokens = min(subject.window, _TOKENS)
    return shares.language_model(
        subject, batches.settle(subject.context, name, batch_size, subject.model, tokens, scored=True)
    )


def refusal(tasks: Sequence[Any]) -> str | None:
    """Why loaded tasks are not run; ``None`` where they are."""
    if any(getattr(task, "UNSAFE_CODE", False) for task in tasks):
        return "it runs code that the model writes (unsafe_code: true); evaluate.suites runs HumanEval and MBPP safely"
    if any(getattr(task, "MULTIMODAL", False) for task in tasks):
        return "it needs a model that takes images or sound"
    return None


def reason(error: Exception) -> str:
    """An error of the harness or of a task as the end of a sentence."""
    lines = (line.strip(" *") for line in str(error).splitlines())  # NLTK's are framed by stars
    return f"{type(error).__name__}: {next(filter(None, lines), '')}"


def run(
    model: Any,
    loaded: Loaded,
    *,
    chat: bool,
    fewshot: int | None,
    limit: int | None,
    seed: int,
    max_new_tokens: int | None = None,
) -> Outcomes:
    """Run tasks that were loaded.

    Args:
        model: of :func:`language_model`.
        chat: put items into the tokenizer's chat template, few-shot examples as turns.
        fewshot: examples before each item; ``None``: as many as the task says.
        limit: most items of a task; ``None``: all.
        max_new_tokens: of an answer; ``None``: as many as the task says.
    """
    from lm_eval.evaluator import evaluate

    for task in loaded["tasks"].values():
        if fewshot is not None:
            task.set_config(key="num_fewshot", value=fewshot)
        elif task.get_config("num_fewshot") is None:
            task.set_config(key="num_fewshot", value=0)
        task.set_fewshot_seed(seed=seed)
        if max_new_tokens is not None and task.OUTPUT_TYPE == "generate_until":
            task.set_config(key="generation_kwargs", value={"max_gen_toks": max_new_tokens}, update=True)

    def evaluated(rows: int) -> Any:
        model.batch_size_per_gpu = rows
        return evaluate(
            lm=model,
            task_dict=loaded,
            limit=limit,
            bootstrap_iters=100,
            apply_chat_template=chat,
            fewshot_as_multiturn=chat,
        )

    results = batches.halving(model.batch_size_per_gpu, evaluated)
    metrics, items = _read(results)
    asked = {task: [sample["doc"] for sample in samples] for task, samples in results["samples"].items()}
    return Outcomes(metrics, items, asked)


def named(outcome: Outcomes, task: str) -> Outcomes:
    """The outcome of a benchmark's one task or of its several, under the name ``task``.

    Several are one benchmark (MMLU's subjects): their items are pooled, so that each weighs alike, and the errors are
    those of all items.
    """
    several = len({metric.task for metric in outcome.metrics}) > 1
    metrics = list(_pooled(outcome, task)) if several else [replace(each, task=task) for each in outcome.metrics]
    names = {metric.name: replace(metric, task=task).name for metric in outcome.metrics}
    items = [
        replace(each, task=task, item=f"{each.task}/{each.item}" if several else each.item, metric=names[each.metric])
        for each in outcome.items
    ]
    return Outcomes(metrics, items, {task: [each for rows in outcome.asked.values() for each in rows]})


def _pooled(outcome: Outcomes, task: str) -> Iterator[TaskMetric]:
    by_metric: dict[str, list[TaskMetric]] = {}
    for metric in outcome.metrics:
        by_metric.setdefault(metric.metric, []).append(metric)
    for name, parts in by_metric.items():
        own = {part.name for part in parts}
        rows = [item for item in outcome.items if item.metric in own]
        if not rows:  # no mean over items, which cannot be pooled
            continue
        scores = [row.score for row in rows]
        n = len(rows)
        groups = [f"{row.task}/{row.group}" for row in rows]
        chances = [part.chance for part in parts]
        chance = None
        if all(each is not None for each in chances):
            chance = sum(each * part.n for each, part in zip(chances, parts, strict=True) if each is not None) / n
        stderr = clustered_stderr(scores, groups)
        yield TaskMetric(task, name, sum(scores) / n, stderr, n, parts[0].higher_is_better, chance)


def _read(results: Mapping[str, Any]) -> tuple[list[TaskMetric], list[Item]]:
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
            chance = _chance(metric, samples)
            metrics.append(TaskMetric(task, shown, float(value), stderr, n, direction.get(metric), chance))
            items += _items(task, metrics[-1].name, metric, samples)
    return metrics, items


def _chance(metric: str, samples: Sequence[Mapping[str, Any]]) -> float | None:
    """What guessing gets: one item of as many as there are choices, where a choice is right or wrong."""
    if metric not in ("acc", "acc_norm") or not samples:
        return None
    choices = [len(sample["arguments"]) for sample in samples]
    if min(choices) < 2 or not all(sample[metric] in (0, 1) for sample in samples):
        return None
    return sum(1 / each for each in choices) / len(choices)


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
    arguments = sample["arguments"]
    first = arguments[0]
    if len(first) == 1:
        return None, None, None
    if isinstance(first[1], dict):
        return str(first[0]), str(sample["resps"][0][0]), str(sample["target"])
    replies = sample["filtered_resps"]
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
