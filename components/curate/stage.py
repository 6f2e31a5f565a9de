"""The curate stage: sources in; corpus, labels, instructions and a data card out.

    sources --(chunks, in a stable order)--> judged documents, a file a chunk --> duplicates and splits --> corpus

Chunks are judged by the engine, each for itself; a chunk whose file is there from an earlier run is not judged again.
What concerns all documents is decided over these files, which are then read a second time and written as shards.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeVar

from components.contract import Context, Metric
from components.curate import card, corpus, held_out, judging
from components.curate.decontamination import decontaminate
from components.curate.deduplication import lines, substrings
from components.curate.files import remote, user_files
from components.curate.files.tables import unused_warnings
from components.curate.files.text_files import encoding_warnings
from components.curate.filters import spacy_words
from components.curate.ledger import Ledger
from components.curate.pipeline import JudgedChunks, broken_problems, judge_all, require_text
from components.curate.supervised import instructions, labels
from components.engine import kept as kept_files
from components.tasks.contract import TaskData
from core.errors import InputProblem, redacted

Built = TypeVar("Built")


def run(context: Context) -> None:
    """Curate. Raises InputProblem with every problem of the sources."""
    parameters, outputs = context.parameters, context.outputs
    judging.spare_pandas(parameters)
    workspace = context.inputs["raw"].parent.parent
    problems = [
        *user_files.problems(parameters, workspace),
        *spacy_words.problems(parameters.quality),
        *held_out.problems(parameters.split.held_out, "curate.split.held_out", workspace),
        *held_out.problems(parameters.deduplication.against, "curate.deduplication.against", workspace),
    ]
    ledger = Ledger(parameters.examples, judging.conceal)
    problems += _elsewhere(context, ledger)
    labels_report = None
    own = context.scratch / "judged"
    folder = context.cache or context.scratch / "known"
    with ThreadPoolExecutor(1) as beside:
        # A task's instructions are made while chunks are judged, mostly by other processes.
        building = beside.submit(
            instructions.build, parameters.instructions, context.seed, outputs["instructions"], workspace, context.warn
        )
        if parameters.instructions.source in ("files", "none"):  # problems of files are reported with the others
            _unless(problems, building.result)
        if parameters.labels.source in ("files", "none"):  # needs no corpus
            labels_report = _unless(
                problems,
                lambda: labels.build(parameters.labels, (), context.seed, outputs["labels"], workspace, context.warn),
            )
        if problems:
            raise InputProblem(list(dict.fromkeys(problems)))
        _warn_of_drift(context, workspace)
        _empty(own)
        with kept_files.using(folder):
            judgement = judge_all(context, workspace, folder, own, ledger)
            metrics = _make(context, judgement, ledger, own, building.result(), labels_report, workspace)
    _record(context, metrics)
    shutil.rmtree(own)
    if context.cache is None:
        shutil.rmtree(folder)
    else:
        kept_files.trim(folder, judgement.paths)


def _make(
    context: Context,
    judgement: JudgedChunks,
    ledger: Ledger,
    folder: Path,
    instruction_data: TaskData,
    labels_report: dict[str, Any] | None,
    workspace: Path,
) -> dict[str, float]:
    """The corpus and the card of the judged documents; the metrics."""
    parameters, outputs = context.parameters, context.outputs
    if problems := ledger.problems + broken_problems(ledger, parameters.max_broken_share):
        raise InputProblem(problems)
    judgement = lines.remove(judgement, folder, ledger, context)
    kept = corpus.choose(judgement, instruction_data.held_out, folder, context)
    judgement = substrings.remove(judgement, kept, ledger, context)
    if parameters.sources:
        require_text(kept.new, ledger, kept.duplicates())
    for name in sorted(ledger.files):
        if warning := ledger.files[name].warning():
            context.warn(warning)
    for warning in [*unused_warnings(ledger.unused), *encoding_warnings(ledger.encodings)]:
        context.warn(warning)
    assignment = corpus.assign(kept, context)
    # A task's questions go into the text that they are asked about, and into no user's own.
    own_text = not any(source.type == "python_docs" for source in parameters.sources)
    additions = [] if own_text else instruction_data.documents
    if own_text and instruction_data.documents:
        instruction_data.report["pretraining_documents"] = 0
    splits = corpus.write(judgement, kept, assignment, additions, ledger, context)
    if labels_report is None:
        labels_report = labels.build(
            parameters.labels, corpus.rows(outputs["corpus"]), context.seed, outputs["labels"], workspace, context.warn
        )
    contamination = decontaminate(context, workspace, ledger, splits)
    largest = corpus.largest_groups(kept, assignment)
    return card.build(
        context, ledger, assignment, largest, splits, instruction_data.report, labels_report, contamination,
        judgement.classifiers, judgement.buckets,
    )  # fmt: skip


def _elsewhere(context: Context, ledger: Ledger) -> list[str]:
    """Note what is read from URLs, and return the problems with them."""
    paths = [path for source in context.parameters.sources if source.type == "files" for path in source.paths]
    if not (urls := list(filter(user_files.is_url, paths))):
        return []
    files, problems = remote.find(urls, "curate.sources")
    problems += user_files.pdf_problems(files)
    ledger.notes["files at URLs"] = remote.listing(files)
    context.warn(
        f"{', '.join(map(redacted, urls))}: changes there do not make the stage old; `dvc repro --force --single-item "
        "curate` reads them again (chunks that did not change are taken from before)"
    )
    return problems


def _unless(problems: list[str], build: Callable[[], Built]) -> Built | None:
    """What ``build`` returns; its problems join ``problems``, so that the user sees all at once."""
    try:
        return build()
    except InputProblem as problem:
        problems += problem.problems
        return None


def _warn_of_drift(context: Context, workspace: Path) -> None:
    for source in context.parameters.sources:
        if source.type == "huggingface":
            local = (workspace / source.id).is_dir()
            if local and not source.id.startswith("data/raw/"):
                context.warn(f"{source.id}: changes to this folder are not noticed; put it under data/raw")
            if not local and source.revision is None:
                context.warn(f"{source.id}: set a revision, or a rerun may read other data under the same parameters")


def _empty(folder: Path) -> None:
    """Remove what a killed attempt left there."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)


def _record(context: Context, metrics: dict[str, float]) -> None:
    read = int(metrics["documents_read"])
    context.record(
        Metric("documents_kept", metrics["documents_kept"], n=read, baselines={"documents_read": read}), headline=True
    )
    for name in ("characters_kept", "train_documents", "validation_documents", "test_documents", "question_documents"):
        context.record(Metric(name, metrics[name]))
    for name in ("share_kept", "duplicate_share"):
        context.record(Metric(name, metrics[name], n=read))
