"""Public benchmarks in the files of their own repositories, as the lm-evaluation-harness's tasks want them.

Each reader takes a file, or a folder that holds the files, and gives the items of one task of the harness or several,
by split, in the columns of the data set that the task otherwise fetches from the hub. Every benchmark can also be read
from a data set that `datasets` saved, in which it has these columns already.
"""

from __future__ import annotations

import csv
import hashlib
import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from components.evaluate.saved_items import ARROW, Rows, arrow_rows, arrow_splits, olmes_items
from core import bounded
from core.errors import InputProblem
from core.files import sha256

OLMES = "olmes_"  # begins the names of benchmarks that are read from OLMES's requests
Splits = dict[str, Rows]  # the items of each split of a task
_SHOWN = 3  # broken rows that a message names
# What reading a file of another form raises, nested without end or packed without bounds among it.
_BROKEN = (OSError, EOFError, ValueError, KeyError, TypeError, IndexError, AttributeError, RecursionError)


def _only_saved(path: Path) -> dict[str, Splits]:
    """Of a benchmark that is read from a saved data set alone."""
    return {}


@dataclass(frozen=True)
class Benchmark:
    """A benchmark that can be read from local files.

    Attributes:
        read: the items of the harness's task or tasks, by name.
        files: the names in the public repository, for messages.
        tests: the split that is asked.
        examples: the split that few-shot examples come from, where the files have it; ``None``: the task has its own.
        hub: what the harness calls the task, or for code the data set on the hub and its configuration.
        folder: of the harness's task files; ``None``: the first word of the benchmark's name.
        saved: columns of a saved data set that the harness's differ from, by those that it has.
    """

    read: Callable[[Path], dict[str, Splits]]
    files: str
    tests: str = "test"
    examples: str | None = "train"
    hub: str | tuple[str, str | None] | None = None
    folder: str | None = None
    saved: Callable[[dict[str, Any]], dict[str, Any]] = dict


def find(name: str) -> Benchmark | None:
    """The benchmark of this name; ``None`` where files of none can be read under it."""
    return _REQUESTS if name.startswith(OLMES) else BENCHMARKS.get(name)


def read(name: str, path: Path) -> dict[str, Splits]:
    """The items of the benchmark ``name`` in the file or folder ``path``, by task of the harness and split.

    Raises:
        InputProblem: a file is missing, unreadable or has another form; it names the file and the row.
    """
    benchmark = find(name)
    if benchmark is None:
        raise InputProblem(f"{name} cannot be read from files")
    if not path.exists():
        raise InputProblem(f"there is no {path}; {name} is read from {benchmark.files}")
    try:
        tasks = _saved(name, benchmark, path) if _is_saved(path) else benchmark.read(path)
    except InputProblem:
        raise
    except (*_BROKEN, csv.Error) as error:
        detail = f"no {error}" if isinstance(error, KeyError) else str(error)
        raise InputProblem(
            f"{path} is not in the form of {benchmark.files}: {type(error).__name__}: {detail}"
        ) from None
    if not tasks or not all(splits.get(benchmark.tests) for splits in tasks.values()):
        splits = sorted({split for splits in tasks.values() for split in splits})
        only = f" in the split {benchmark.tests} (it has {', '.join(splits)})" if splits else ""
        raise InputProblem(f"{path} holds no items of {name}{only}; it is read from {benchmark.files}")
    return tasks


def _is_saved(path: Path) -> bool:
    return path.suffix == ARROW or (path.is_dir() and any(path.rglob(f"*{ARROW}")))


def _saved(name: str, benchmark: Benchmark, path: Path) -> dict[str, Splits]:
    """A data set that `datasets` saved: one file is the split that is asked; a folder has one for each split, and of
    MMLU one for each subject."""
    found = {"": {benchmark.tests: arrow_rows(path)}} if path.is_file() else arrow_splits(path)
    if name == "mmlu":
        return {f"mmlu_{rows['test'][0]['subject']}": rows for rows in found.values() if rows.get("test")}
    if len(found) != 1:
        raise InputProblem(f"{path} holds several data sets ({', '.join(found)}); name the folder of one")
    [splits] = found.values()
    return {name: {split: [benchmark.saved(row) for row in rows] for split, rows in splits.items()}}


def digest(path: Path) -> str:
    """SHA-256 of a file, or of the names and digests of a folder's files."""
    if path.is_file():
        return sha256(path)
    files = sorted(each for each in path.rglob("*") if each.is_file())
    listed = "".join(f"{digest(each)}  {each.relative_to(path).as_posix()}\n" for each in files)
    return hashlib.sha256(listed.encode()).hexdigest()


def _lines(path: Path) -> Rows:
    """The objects of a jsonl file, also a gzipped one."""
    with bounded.unpacked(path) as file:
        rows = [json.loads(line) for line in bounded.lines(file) if line.strip()]
    if wrong := [number for number, row in enumerate(rows, 1) if not isinstance(row, dict)]:
        raise InputProblem(f"{path}: rows {', '.join(map(str, wrong[:_SHOWN]))} are no objects")
    return rows


def _one_of(path: Path, *patterns: str) -> Path | None:
    """The file itself, or the first file of the folder whose name matches."""
    if path.is_file():
        return path
    return next((found for pattern in patterns for found in sorted(path.rglob(pattern))), None)


def _splits(path: Path, convert: Callable[[dict[str, Any]], dict[str, Any]], **patterns: str) -> Splits:
    """The splits of a folder by the patterns of their files' names; a single file is the last of them."""
    if path.is_file():
        *_, tested = patterns
        return {tested: [convert(row) for row in _lines(path)]}
    found = {split: _one_of(path, pattern) for split, pattern in patterns.items()}
    return {split: [convert(row) for row in _lines(file)] for split, file in found.items() if file}


def _require(columns: tuple[str, ...]) -> Callable[[dict[str, Any]], dict[str, Any]]:
    return lambda row: {column: row[column] for column in columns}


def _gsm8k(path: Path) -> dict[str, Splits]:
    return {"gsm8k": _splits(path, _require(("question", "answer")), train="train*.jsonl", test="test*.jsonl")}


def _arc(task: str, folder: str) -> Callable[[Path], dict[str, Splits]]:
    def convert(row: dict[str, Any]) -> dict[str, Any]:
        choices = row["question"]["choices"]
        labels, texts = [each["label"] for each in choices], [each["text"] for each in choices]
        return {"id": row["id"], "question": row["question"]["stem"], "choices": {"label": labels, "text": texts},
                "answerKey": row["answerKey"]}  # fmt: skip

    return lambda path: {
        task: _splits(path, convert, **{split: f"{folder}-{split.title()}.jsonl" for split in ("train", "test")})
    }


def _hellaswag(path: Path) -> dict[str, Splits]:
    columns = _require(("activity_label", "ctx_a", "ctx_b", "endings", "label"))
    return {"hellaswag": _splits(path, columns, train="hellaswag_train.jsonl", validation="hellaswag_val.jsonl")}


def _mmlu(path: Path) -> dict[str, Splits]:
    """``test/<subject>_test.csv`` and ``dev/<subject>_dev.csv``: question, four choices, the letter; no header."""
    tasks: dict[str, Splits] = {}
    for split in ("test", "dev"):
        for file in sorted(path.rglob(f"*_{split}.csv")):
            subject = file.stem.removesuffix(f"_{split}")
            rows = [
                {"question": row[0], "choices": row[1:5], "answer": "ABCD".index(row[5].strip()), "subject": subject}
                for row in _csv_rows(file)
            ]
            tasks.setdefault(f"mmlu_{subject}", {})[split] = rows
    return {task: splits for task, splits in tasks.items() if "test" in splits}


def _truthfulqa(task: str) -> Callable[[Path], dict[str, Splits]]:
    """``TruthfulQA.csv``. MC1: the best answer among the incorrect ones; MC2: all correct and incorrect ones (Lin,
    Hilton and Evans 2022, section 2.2, and ``truthfulqa/models.py`` of the repository)."""

    def convert(row: Mapping[str, str]) -> dict[str, Any]:
        best, right, wrong = (_answers(row[f"{kind} {number}"]) for kind, number in
                              (("Best", "Answer"), ("Correct", "Answers"), ("Incorrect", "Answers")))  # fmt: skip
        single, every = [*best[:1], *wrong], [*right, *wrong]
        return {
            "question": row["Question"],
            "mc1_targets": {"choices": single, "labels": [1] + [0] * len(wrong)},
            "mc2_targets": {"choices": every, "labels": [1] * len(right) + [0] * len(wrong)},
        }

    def read_file(path: Path) -> dict[str, Splits]:
        file = _one_of(path, "TruthfulQA.csv")
        if file is None:
            return {}
        with file.open(encoding="utf-8", newline="") as lines:
            return {task: {"validation": [convert(row) for row in csv.DictReader(lines)]}}

    return read_file


def _answers(text: str) -> list[str]:
    return [each.strip() for each in text.split(";") if each.strip()]


def _csv_rows(path: Path) -> Iterator[list[str]]:
    with path.open(encoding="utf-8", newline="") as lines:
        yield from (row for row in csv.reader(lines) if row)


def _ifeval(path: Path) -> dict[str, Splits]:
    file = _one_of(path, "input_data.jsonl", "*.jsonl")
    columns = _require(("key", "prompt", "instruction_id_list", "kwargs"))
    return {"ifeval": {"train": [columns(row) for row in _lines(file)]}} if file else {}


def _bbh(path: Path) -> dict[str, Splits]:
    """``bbh/<task>.json``: an object with ``examples``."""
    tasks = {}
    for file in sorted(path.rglob("*.json")):
        with bounded.unpacked(file) as content:
            examples = json.loads(bounded.whole(content))["examples"]
        columns = _require(("input", "target"))
        tasks[f"bbh_cot_fewshot_{file.stem}"] = {"test": [columns(row) for row in examples]}
    return tasks


def _humaneval(path: Path) -> dict[str, Splits]:
    file = _one_of(path, "HumanEval*.jsonl.gz", "HumanEval*.jsonl")
    columns = _require(("task_id", "prompt", "entry_point", "canonical_solution", "test"))
    return {"humaneval": {"test": [columns(row) for row in _lines(file)]}} if file else {}


def _mbpp(path: Path) -> dict[str, Splits]:
    """``mbpp.jsonl``: tasks 11 to 510 are the test, 1 to 10 the examples (Austin et al. 2021)."""
    file = _one_of(path, "mbpp.jsonl", "*mbpp*.jsonl")
    if file is None:
        return {}
    columns = _require(("task_id", "text", "code", "test_list", "test_setup_code"))
    rows = [columns(row) for row in _lines(file)]
    return {
        "mbpp": {
            "prompt": [row for row in rows if 1 <= row["task_id"] <= 10],
            "test": [row for row in rows if 11 <= row["task_id"] <= 510],
        }
    }


def _boolq(row: dict[str, Any]) -> dict[str, Any]:
    return {**row, "label": int(row["answer"])}


_ARROW_FILES = "data-*.arrow, of a data set that `datasets` saved"
_REQUESTS = Benchmark(
    lambda path: {"olmes": {"test": olmes_items(_lines(path))}}, "OLMES's requests.jsonl.gz", examples=None
)
BENCHMARKS = {
    "arc_easy": Benchmark(_arc("arc_easy", "ARC-Easy"), "ARC-Easy-Test.jsonl"),
    "arc_challenge": Benchmark(_arc("arc_challenge", "ARC-Challenge"), "ARC-Challenge-Test.jsonl"),
    "hellaswag": Benchmark(_hellaswag, "hellaswag_val.jsonl", "validation"),
    "mmlu": Benchmark(_mmlu, "a folder with test/*_test.csv and dev/*_dev.csv", examples="dev"),
    "boolq": Benchmark(_only_saved, _ARROW_FILES, "validation", folder="super_glue", saved=_boolq),
    "piqa": Benchmark(_only_saved, _ARROW_FILES, "validation"),
    "winogrande": Benchmark(_only_saved, _ARROW_FILES, "validation"),
    "triviaqa": Benchmark(_only_saved, _ARROW_FILES, "validation"),
    "truthfulqa_mc1": Benchmark(_truthfulqa("truthfulqa_mc1"), "TruthfulQA.csv", "validation"),
    "truthfulqa_mc2": Benchmark(_truthfulqa("truthfulqa_mc2"), "TruthfulQA.csv", "validation"),
    "gsm8k": Benchmark(_gsm8k, "test.jsonl, with train.jsonl for the examples"),
    "ifeval": Benchmark(_ifeval, "input_data.jsonl", "train", None),
    "bbh": Benchmark(_bbh, "a folder with the 27 files bbh/*.json", examples=None, hub="bbh_cot_fewshot"),
    "humaneval": Benchmark(_humaneval, "HumanEval.jsonl.gz", examples=None, hub=("openai/openai_humaneval", None)),
    "mbpp": Benchmark(_mbpp, "mbpp.jsonl", examples="prompt", hub=("google-research-datasets/mbpp", "full")),
}
