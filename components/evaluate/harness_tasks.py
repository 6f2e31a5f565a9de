"""Tasks of the lm-evaluation-harness on a model in memory, without the network unless a task names a remote set."""

from __future__ import annotations

import json
import logging
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from components.statistics import clustered_stderr, ratio_stderr
from core.errors import InputProblem

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

TASK_FILES = Path(__file__).parent / "tasks"


@dataclass(frozen=True)
class TaskFigure:
    """One figure of one task."""

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


def run(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    *,
    tasks: Sequence[str],
    rows: Mapping[str, Sequence[Mapping[str, Any]]],
    include_path: Path | None,
    chat: bool,
    context: int,
    limit: int,
    batch_size: int,
    seed: int,
    scratch: Path,
) -> tuple[list[TaskFigure], dict[str, str]]:
    """Run ``tasks``; return their metrics in order, and the reason for each task that was refused.

    Standard errors are clustered by the items' ``group`` where they have one, else the harness's own.

    Args:
        rows: items of the tasks in ``TASK_FILES``; such a task without rows is not run.
        include_path: folder with the user's task files.
        chat: put items into the tokenizer's chat template.
        limit: most items of a task.
        scratch: folder for item files and the cache of datasets.

    Raises:
        InputProblem: no such task.
    """
    from lm_eval.evaluator import evaluate
    from lm_eval.models.huggingface import HFLM
    from lm_eval.tasks import TaskManager

    logging.getLogger("lm_eval").setLevel(logging.ERROR)
    own = {path.stem: path for path in sorted(TASK_FILES.glob("*.yaml"))}
    wanted = [task for task in tasks if task not in own or rows.get(task)]
    if not wanted:
        return [], {}
    manager = TaskManager(include_path=include_path, include_defaults=False)
    missing = [task for task in wanted if task not in own and task not in manager.all_tasks]
    if missing:
        found = sorted([*own, *manager.all_tasks])
        # Reading the harness's own thousands of task files takes seconds: only where one of them may be meant.
        manager = TaskManager(include_path=include_path)
        unknown = [task for task in missing if task not in manager.all_tasks]
        if unknown:
            raise InputProblem(
                [
                    f"evaluate.lm_eval.tasks: there is no task {task!r}; built here or found under include_path: "
                    f"{', '.join(found)}; for the harness's own see `lm_eval ls tasks`"
                    for task in unknown
                ]
            )
    specifications = [
        {**yaml.safe_load(own[task].read_text(encoding="utf-8")), "dataset_kwargs": _write(task, rows[task], scratch)}
        if task in own
        else task
        for task in wanted
    ]
    loaded, refused = _load(manager, dict(zip(wanted, specifications, strict=True)))
    if not loaded["tasks"]:
        return [], refused
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
    return _figures(results), refused


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


def _figures(results: Mapping[str, Any]) -> list[TaskFigure]:
    figures = []
    for task in sorted(results["results"]):
        values = results["results"][task]
        samples = results["samples"].get(task, [])
        direction = results["higher_is_better"].get(task) or {}
        for key, value in values.items():
            metric, comma, rule = key.partition(",")
            if not comma or metric.endswith("_stderr") or not isinstance(value, int | float) or math.isnan(value):
                continue
            stderr = _clustered(metric, samples)
            reported = values.get(f"{metric}_stderr,{rule}")
            if stderr is None and isinstance(reported, int | float) and math.isfinite(reported):
                stderr = float(reported)
            n = int(values.get("sample_len") or len(samples))
            shown = metric if rule == "none" else f"{metric}_{rule}"
            figures.append(TaskFigure(task, shown, float(value), stderr, n, direction.get(metric)))
    return figures


def _clustered(metric: str, samples: Sequence[Mapping[str, Any]]) -> float | None:
    """Clustered error of a mean, or of bits over bytes; ``None`` for other figures and for items without a group."""
    values = [sample.get(metric) for sample in samples]
    clusters = [sample["doc"].get("group") for sample in samples]
    if not values or any(cluster is None for cluster in clusters):
        return None
    if metric == "bits_per_byte":
        return ratio_stderr([-ll / math.log(2) for ll, _ in values], [size for _, size in values], clusters)
    if all(isinstance(value, int | float) for value in values):
        return clustered_stderr(values, clusters)
    return None
