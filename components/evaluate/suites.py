"""Suites: named sets of public benchmarks, from local files in their public form or from the hub, pinned by commit.

Each task is run for itself: one that cannot be run is reported, and the others count. What came of a task is kept in
the stage's scratch folder, so that an evaluation that was killed goes on behind the tasks it had finished.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from components.evaluate import benchmarks, code_tasks, harness
from components.evaluate.benchmarks import BENCHMARKS, OLMES, Splits
from components.evaluate.harness import Loaded, Outcomes, TaskMetric
from components.evaluate.items import Item
from components.evaluate.parameters import HUB, SuiteParameters
from components.evaluate.saved_items import olmes_task
from components.evaluate.subject import Subject
from core.errors import InputProblem
from core.files import write_json

_CODE = ("humaneval", "mbpp")


def measure_suites(subject: Subject) -> tuple[list[dict[str, Any]], dict[str, list[dict[str, Any]]]]:
    """Record the metrics of all suites; what the report shows of each task, and the items that were asked."""
    report: list[dict[str, Any]] = []
    asked: dict[str, list[dict[str, Any]]] = {}
    for name, suite in subject.context.parameters.suites.items():
        chat = subject.chat if suite.chat == "auto" else suite.chat
        for task, source in suite.tasks.items():
            subject.raise_if_stopping()
            row: dict[str, Any] = {"suite": name, "task": task, "source": source, "chat": chat, "limit": suite.limit}
            try:
                row["sha256"] = None if source.startswith(HUB) else benchmarks.digest(_path(subject, source))
                outcome = _measured_once(subject, name, suite, task, chat)
            except Exception as error:  # the task's own code, its data, a prompt that the model does not take
                row["refused"] = _why(task, error)
                subject.context.warn(f"evaluate.suites.{name}: {task} was left out: {row['refused']}")
                report.append({**row, "metrics": []})
                continue
            for metric in outcome.metrics:
                subject.context.record(harness.as_metric(metric, None))
            subject.items.extend(outcome.items)
            asked |= outcome.asked
            report.append({**row, "refused": None, "metrics": [asdict(metric) for metric in outcome.metrics]})
    return report, asked


def _measured_once(subject: Subject, name: str, suite: SuiteParameters, task: str, chat: bool) -> Outcomes:
    """What came of a task: of an earlier attempt of this stage if it got so far, else measured now."""
    kept = subject.context.scratch / "suites" / f"{name}-{task}.json"
    if kept.is_file():
        found = json.loads(kept.read_bytes())
        return Outcomes(
            [TaskMetric(**each) for each in found["metrics"]], [Item(**each) for each in found["items"]], found["asked"]
        )
    outcome = harness.named(_measured(subject, suite, task, chat), f"{name}/{task}")
    write_json(kept, json.loads(json.dumps(asdict(outcome), default=str)))
    return outcome


def _measured(subject: Subject, suite: SuiteParameters, task: str, chat: bool) -> Outcomes:
    if chat and not subject.tokenizer.chat_template:
        raise InputProblem("the model has no chat template: set chat to false")
    source, fewshot = suite.tasks[task], suite.fewshot
    if source.startswith(HUB):
        specifications = [_from_hub(suite, task, source.removeprefix(HUB), chat)]
    else:
        tasks = benchmarks.read(task, _path(subject, source))
        specifications = [_from_files(suite, task, name, splits, chat) for name, splits in tasks.items()]
    if fewshot is None and task in _CODE:
        fewshot = code_tasks.FEWSHOT[task]
    loaded = _load(task, specifications)
    if why := harness.refusal(list(loaded["tasks"].values())):
        raise InputProblem(why)
    if not subject.model.generation_config.pad_token_id:
        subject.model.generation_config.pad_token_id = subject.tokenizer.pad_token_id
    return harness.run(
        harness.language_model(subject, "suites.batch_size", suite.batch_size),
        loaded,
        chat=chat,
        fewshot=fewshot,
        limit=suite.limit,
        seed=subject.context.seed,
        max_new_tokens=suite.max_new_tokens,
    )


def _load(benchmark: str, specifications: list[dict[str, Any]]) -> Loaded:
    """The tasks, without the groups that hold them: what came of several is pooled here."""
    import lm_eval.tasks

    logging.getLogger("lm_eval").setLevel(logging.ERROR)
    own = None  # the folder of a known benchmark: reading all of the harness's files, thousands, takes seconds
    if known := BENCHMARKS.get(benchmark):
        own = Path(lm_eval.tasks.__file__).parent / (known.folder or benchmark.partition("_")[0])
    by_itself = benchmark in _CODE or benchmark.startswith(OLMES)
    catalogue = lm_eval.tasks.TaskManager(include_path=own, include_defaults=not (known or by_itself))
    # In a group the harness takes the rest of a task from its own file; ours stand for themselves.
    wanted = specifications if by_itself else [{"group": "suite", "task": specifications}]
    return {"tasks": catalogue.load(wanted)["tasks"], "groups": {}, "group_map": {}}


def _from_files(suite: SuiteParameters, benchmark: str, task: str, splits: Splits, chat: bool) -> dict[str, Any]:
    """A task of the harness that reads ``splits`` instead of its data set on the hub."""
    if benchmark.startswith(OLMES):
        return {**olmes_task(benchmark, splits["test"]), "custom_dataset": _dataset(splits)}
    about = BENCHMARKS[benchmark]
    changes: dict[str, Any] = {"custom_dataset": _dataset(splits)}
    for kind in ("training", "validation"):
        changes[f"{kind}_split"] = next((split for split in splits if _kind(split) == kind), None)
    if about.examples in splits:
        changes["fewshot_split"] = about.examples
    elif about.examples is not None:
        if about.tests != "test" and suite.fewshot:
            raise InputProblem(f"few-shot examples need the split {about.examples}, which is not beside the test file")
        # The harness leaves out the item that is asked.
        changes["fewshot_split"] = about.tests
    if benchmark in _CODE:
        return _code(suite, benchmark, chat) | changes
    return {"task": task, **changes}


def _from_hub(suite: SuiteParameters, benchmark: str, revision: str, chat: bool) -> dict[str, Any]:
    at = {"dataset_kwargs": {"revision": revision}}
    if benchmark in _CODE:
        place = BENCHMARKS[benchmark].hub
        assert isinstance(place, tuple)
        return _code(suite, benchmark, chat) | at | {"dataset_path": place[0], "dataset_name": place[1]}
    known = BENCHMARKS.get(benchmark)
    return {"task": known.hub if known and isinstance(known.hub, str) else benchmark, **at}


def _code(suite: SuiteParameters, task: str, chat: bool) -> dict[str, Any]:
    return code_tasks.configuration(task, chat=chat, samples=suite.samples, temperature=suite.temperature)


def _dataset(splits: Splits) -> Any:
    def load(**_: Any) -> Mapping[str, Any]:
        from datasets import Dataset

        return {split: Dataset.from_list(rows) for split, rows in splits.items()}

    return load


def _kind(split: str) -> str:
    return "training" if split == "train" else split


def _path(subject: Subject, source: str) -> Path:
    return subject.context.inputs["raw"].parents[1] / source


def _why(task: str, error: Exception) -> str:
    if isinstance(error, InputProblem):
        return str(error)
    if isinstance(error, ImportError | LookupError) and task == "ifeval":
        return (
            f"{harness.reason(error)}; it needs: pip install 'lm-eval[ifeval]' && python -m nltk.downloader punkt_tab"
        )
    return harness.reason(error)
