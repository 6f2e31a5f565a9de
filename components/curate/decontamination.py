"""Decontamination: what was curated for training against what models are measured on.

It is the last step, on the finished splits: the evaluation sets are the test splits made here and the files of
``decontamination.against``. ``reports/curate/contamination.json`` has the counts of every pair of sets, which the
promotion gate reads too; ``contamination.jsonl`` lists every training text that overlaps, with the passage.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sized
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from components.contract import Context, Interrupted, Metric
from components.curate.card import SplitCounts
from components.curate.documents import FIELDS, Document, ShardWriter
from components.curate.files.tables import rows
from components.curate.files.text_files import text_lines
from components.curate.files.user_files import BENCHMARKS, UserFile, find
from components.curate.ledger import Ledger
from components.curate.parameters import CurateParameters
from components.curate.process import extra_columns
from components.decontamination.overlap import Findings
from components.decontamination.overlap import find as find_overlaps
from components.decontamination.record import LISTED, WARNED, write_record
from components.decontamination.sets import EVALUATION, TRAINING, batches, read, strings
from components.decontamination.texts import TextBatch, TextSet
from core.errors import InputProblem

_SHOWN = 10


def decontaminate(
    context: Context, workspace: Path, ledger: Ledger, splits: dict[str, SplitCounts]
) -> dict[str, Any] | None:
    """Compare and act; the report's part about it, ``None`` where nothing was asked.

    With ``action: remove`` files of ``context.outputs`` are written anew, and ``splits`` and ``ledger`` know of it.

    Raises:
        InputProblem: a file of ``against`` cannot be read; ``action`` is refuse and texts overlap; a set would be left
            without a text.
    """
    parameters: CurateParameters = context.parameters
    asked = parameters.decontamination
    if asked.action == "none":
        return None
    found = find_overlaps(
        [each for name, of in TRAINING.items() for each in read(name, context.outputs[name], of)],
        [each for name, of in EVALUATION.items() for each in read(name, context.outputs[name], of)]
        + [TextSet(file.name, _reader(file)) for file in find(asked.against, _AGAINST, workspace, BENCHMARKS)[0]],
        asked.rules,
        _apart(parameters),
        lambda: _go_on(context),
    )
    if asked.action == "refuse" and found.overlaps:
        raise InputProblem(_refusal(found))
    removed: dict[str, set[int]] = defaultdict(set)
    if asked.action == "remove":
        for overlap in found.overlaps:
            removed[overlap.training].add(overlap.number)
        for name, numbers in removed.items():
            _remove(name, numbers, found, context, ledger, splits)
    return _record(context, found, {name: len(numbers) for name, numbers in removed.items()})


_AGAINST = "curate.decontamination.against"


def _apart(parameters: CurateParameters) -> dict[tuple[str, str], str]:
    """Pairs of sets that hold the same texts by design, and why."""
    if parameters.labels.source in ("files", "none"):
        return {}
    why = f"the texts of labels.source: {parameters.labels.source} are the corpus's own; their labels are not in it"
    return {("corpus/train", "labels/test"): why, ("labels/train", "corpus/test"): why}


def _go_on(context: Context) -> None:
    if context.stopping:
        raise Interrupted


def _reader(file: UserFile) -> Any:
    def read_batches() -> Iterator[TextBatch]:
        yield from batches(_paragraphs(file) if file.format == "text" else _rows(file))

    return read_batches


def _rows(file: UserFile) -> Iterator[tuple[str, list[str]]]:
    """Rows of a table, each with every text in it, at any depth."""
    for row in rows(file):
        if row.columns is None:
            raise InputProblem(f"{_AGAINST}: {file.name}, {row.where}: {row.error}: repair the row, or remove it")
        yield f"{file.name}, {row.where}", list(dict.fromkeys(strings(row.columns)))


def _paragraphs(file: UserFile) -> Iterator[tuple[str, list[str]]]:
    """Paragraphs of a text file, which blank lines part."""
    lines: list[str] = []
    first = 1
    for number, line in enumerate(text_lines(file), 1):
        if text := line.decode("utf-8", "replace").strip():
            first = first if lines else number
            lines.append(text)
        elif lines:
            yield f"{file.name}, line {first}", [" ".join(lines)]
            lines = []
    if lines:
        yield f"{file.name}, line {first}", [" ".join(lines)]


def _refusal(found: Findings) -> list[str]:
    listed = [
        f"{each.training}: {each.document} overlaps with {each.evaluation} ({each.item}; {each.rule}): "
        f"{each.passage[:100]!r}"
        for each in found.overlaps[:_SHOWN]
    ]
    if (more := len(found.overlaps) - _SHOWN) > 0:
        listed.append(f"... and {more} more")
    return [
        *listed,
        "curate.decontamination: the training texts above hold what models are measured on: take them out of the "
        "sources, or set curate.decontamination.action to remove or report",
    ]


def _remove(
    name: str,
    numbers: set[int],
    found: Findings,
    context: Context,
    ledger: Ledger,
    splits: dict[str, SplitCounts],
) -> None:
    """Write the training set ``name`` without the documents of these numbers."""
    part, split = name.split("/")
    folder = context.outputs[part]
    if part == "corpus":
        splits[split] = _without_documents(name, numbers, found, context, ledger)
    elif part == "instructions":
        path = folder / f"{split}.jsonl"
        lines = [line for line in path.read_text(encoding="utf-8").split("\n") if line.strip()]
        kept = [line for number, line in enumerate(lines) if number not in numbers]
        _require_rest(name, kept)
        path.write_text("".join(f"{line}\n" for line in kept), encoding="utf-8", newline="\n")
    else:
        path = folder / f"{split}.parquet"
        table = pq.read_table(path)
        rest = table.filter(pa.array([number not in numbers for number in range(len(table))]))
        lost = sorted(set(table["label"].to_pylist()) - set(rest["label"].to_pylist()))
        _require_rest(name, [] if lost else rest, f"no row of the class {', '.join(map(repr, lost[:5]))}")
        pq.write_table(rest, path)


def _require_rest(name: str, rest: Sized, what: str = "nothing") -> None:
    if not len(rest):
        raise InputProblem(
            f"curate.decontamination: {what} of {name} is left without the texts that overlap with evaluation sets: "
            "add texts, correct curate.decontamination.against, or set curate.decontamination.action to report"
        )


def _without_documents(name: str, numbers: set[int], found: Findings, context: Context, ledger: Ledger) -> SplitCounts:
    folder = context.outputs["corpus"]
    beside = folder / ".rest"
    beside.mkdir()
    reasons = {each.number: f"overlaps with {each.evaluation} ({each.item})" for each in found.overlaps
               if each.training == name}  # fmt: skip
    old = sorted(folder.glob("train-*.parquet"))
    counts = SplitCounts()
    number = -1
    extra = extra_columns(context.parameters)
    with ShardWriter(beside, "train", context.parameters.shard_megabytes, extra) as writer:
        for path in old:
            with pq.ParquetFile(path) as file:
                for batch in file.iter_batches():
                    for row in batch.to_pylist():
                        number += 1
                        if number not in numbers:
                            writer.write(row)
                            counts.add(row)
                        elif row["kind"] != "question":  # those were made here, and never read
                            document = Document(**{name: row[name] for name in FIELDS})
                            ledger.drop("contaminated", document, reasons[number])
    _require_rest(name, writer.files)
    for path in old:
        path.unlink()
    for file_name in writer.files:
        (beside / file_name).rename(folder / file_name)
    beside.rmdir()
    counts.close(writer)
    return counts


def _record(context: Context, found: Findings, removed: dict[str, int]) -> dict[str, Any]:
    """Write both files, record the metrics, warn of what stays; the summary with some examples."""
    asked = context.parameters.decontamination
    report = context.outputs["report"]
    remains = asked.action != "remove"
    pairs = [{**asdict(pair), "left": pair.overlapping if remains else 0} for pair in found.pairs]
    summary = {
        "action": asked.action,
        "rules": asked.rules.model_dump(mode="json"),
        "pairs": pairs,
        "apart": [{"training": t, "evaluation": e, "why": why} for (t, e), why in _apart(context.parameters).items()],
        "removed": removed,
    }
    summary = write_record(report, summary, found.overlaps, removed=not remains)
    context.attach(report / LISTED)
    worst = max(pairs, key=lambda pair: pair["left"] / max(pair["items"], 1), default=None)
    documents = {(each.training, each.number) for each in found.overlaps}
    share = worst["left"] / max(worst["items"], 1) if worst else 0.0
    context.record(Metric("contamination", share, higher_is_better=False, n=worst["items"] if worst else 0))
    context.record(Metric("contaminated_documents", len(documents)))
    if worst and share > WARNED:
        also = sum(pair["left"] > 0 for pair in pairs) - 1
        context.warn(
            f"{worst['left']} of {worst['items']} items of {worst['evaluation']} overlap with {worst['training']}"
            f"{f', and {also} more pairs of sets overlap' if also else ''}: reports/curate/{LISTED} lists the "
            "passages; curate.decontamination.action: remove takes these training texts out"
        )
    examples = [asdict(overlap) for overlap in found.overlaps]
    return {**summary, "documents": len(documents), "examples": _spread(examples, context.parameters.examples)}


def _spread(overlaps: list[dict[str, Any]], most: int) -> list[dict[str, Any]]:
    """At most so many overlaps of each pair of sets and rule."""
    taken: dict[tuple[str, ...], int] = defaultdict(int)
    shown = []
    for each in overlaps:
        key = (each["training"], each["evaluation"], each["rule"])
        taken[key] += 1
        if taken[key] <= most:
            shown.append(each)
    return shown
