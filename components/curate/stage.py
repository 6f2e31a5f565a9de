"""The curate stage: sources in; corpus, labels, instructions and a data card out.

Two passes. The first streams every source through cleaning, redaction, quality rules and deduplication into one staged
file in the scratch folder; the second gives each kept document its split and writes the shards. Only content hashes,
groups, sizes and MinHash signatures are held in memory (about 4.5 KB a kept document), never all texts.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeVar

import pyarrow.parquet as pq

from components.contract import Context, Interrupted, Metric
from components.curate import card, held_out, instructions, labels, user_files
from components.curate.documents import Document, ShardWriter, identifier
from components.curate.ledger import Ledger
from components.curate.pipeline import (
    Kept,
    broken_problems,
    conceal,
    deduplicate,
    prepare,
    read_sources,
    require_text,
)
from components.curate.sources import module_of
from components.curate.splitting import SPLITS, SplitAssignment, divide
from components.curate.tables import unused_warnings
from core.errors import InputProblem

Built = TypeVar("Built")


def run(context: Context) -> None:
    """Curate. Raises InputProblem with every problem of the sources."""
    parameters, outputs = context.parameters, context.outputs
    workspace = context.inputs["raw"].parent.parent
    problems = [
        *user_files.problems(parameters, workspace),
        *held_out.problems(parameters.split.held_out, workspace),
    ]
    instruction_data = _unless(
        problems,
        lambda: instructions.build(
            parameters.instructions, context.seed, outputs["instructions"], workspace, context.warn
        ),
    )
    labels_report = None
    if parameters.labels.source in ("files", "none"):  # needs no corpus: its problems are reported with the others
        labels_report = _unless(
            problems,
            lambda: labels.build(parameters.labels, (), context.seed, outputs["labels"], workspace, context.warn),
        )
    if problems:
        raise InputProblem(list(dict.fromkeys(problems)))
    _warn_of_drift(context, workspace)
    ledger = Ledger(parameters.examples, conceal)
    staged = context.scratch / "staged"
    identifiers: list[str] = []
    groups: list[str] = []
    sizes: list[int] = []
    origins: list[str] = []

    with ShardWriter(_emptied(staged), "staged", float("inf")) as writer:

        def keep(document: Document) -> None:
            if context.stopping:
                raise Interrupted  # nothing to save: the stage starts again from its sources
            identifiers.append(identifier(document.text))
            groups.append(document.group)
            origins.append(document.origin)
            sizes.append(len(document.text))
            writer.write(document.row())

        total = sum(module_of(source).units(source, workspace) for source in parameters.sources)
        with context.progress("curate", total, unit="files") as advance:
            frozen = _taken(held_out.documents(parameters.split.held_out, workspace), ledger)
            read = prepare(read_sources(parameters, workspace, ledger, advance), parameters, ledger)
            kept = deduplicate(frozen, read, parameters, context.seed, instruction_data.held_out, ledger, keep)
    problems = ledger.problems + broken_problems(ledger, parameters.max_broken_share)
    if problems:
        raise InputProblem(problems)
    if parameters.sources:
        require_text(len(identifiers) - len(kept.held | kept.frozen), ledger)
    for name in sorted(ledger.files):
        if warning := ledger.files[name].warning():
            context.warn(warning)
    for warning in unused_warnings(ledger.unused):
        context.warn(warning)

    relatives = held_out.relatives(kept.frozen, kept.deduplicator.links, groups, origins) - kept.held
    aside = kept.held | kept.frozen | relatives
    assignment = _divide(identifiers, groups, sizes, kept.deduplicator.links, aside, context)
    # A task's questions go into the text that they are asked about, and into no user's own.
    own_text = not any(source.type == "python_docs" for source in parameters.sources)
    additions = [] if own_text else instruction_data.documents
    if own_text and instruction_data.documents:
        instruction_data.report["pretraining_documents"] = 0
    splits = _write_corpus(staged, assignment, kept, relatives, additions, ledger, context)
    if labels_report is None:
        labels_report = labels.build(
            parameters.labels, _rows(outputs["corpus"]), context.seed, outputs["labels"], workspace, context.warn
        )
    metrics = card.build(context, ledger, assignment, splits, instruction_data.report, labels_report)
    _record(context, metrics)
    for path in sorted(staged.glob("*")):
        path.unlink()


def _unless(problems: list[str], build: Callable[[], Built]) -> Built | None:
    """What ``build`` returns; its problems join ``problems``, so that the user sees all at once."""
    try:
        return build()
    except InputProblem as problem:
        problems += problem.problems
        return None


def _taken(documents: Iterator[Document], ledger: Ledger) -> Iterator[Document]:
    for document in documents:
        ledger.take(document)
        yield document


def _warn_of_drift(context: Context, workspace: Path) -> None:
    for source in context.parameters.sources:
        if source.type == "huggingface":
            local = (workspace / source.id).is_dir()
            if local and not source.id.startswith("data/raw/"):
                context.warn(f"{source.id}: changes to this folder are not noticed; put it under data/raw")
            if not local and source.revision is None:
                context.warn(f"{source.id}: set a revision, or a rerun may read other data under the same parameters")


def _emptied(folder: Path) -> Path:
    """``folder``, without what a killed attempt left there."""
    folder.mkdir(parents=True, exist_ok=True)
    for path in folder.glob("*"):
        path.unlink()
    return folder


def _divide(
    identifiers: list[str],
    groups: list[str],
    sizes: list[int],
    links: list[tuple[int, int]],
    aside: set[int],
    context: Context,
) -> SplitAssignment:
    """The assignment of the documents that are not set aside; the test split has none of them where it stays."""
    numbers = [number for number in range(len(identifiers)) if number not in aside]
    if not numbers:
        return SplitAssignment([], 0, 0, 0.0, [], 0)
    split = context.parameters.split
    position = {number: index for index, number in enumerate(numbers)}
    assignment = divide(
        [identifiers[n] for n in numbers],
        [groups[n] for n in numbers],
        [sizes[n] for n in numbers],
        [(position[a], position[b]) for a, b in links if a in position and b in position],
        split.model_copy(update={"test": 0.0}) if split.held_out else split,
        context.seed,
    )
    if assignment.largest_share > 0.25 and assignment.clusters > 1:
        context.warn(
            f"one cluster of related documents holds {assignment.largest_share:.0%} of the text and stays in train; it "
            f"joins groups such as {', '.join(assignment.largest_groups)}. A higher "
            "deduplication.split_threshold divides it"
        )
    return assignment


def _staged_rows(staged: Path) -> Iterator[dict[str, str]]:
    for path in sorted(staged.glob("*.parquet")):
        with pq.ParquetFile(path) as file:
            for batch in file.iter_batches():
                yield from batch.to_pylist()


def _write_corpus(
    staged: Path,
    assignment: SplitAssignment,
    kept: Kept,
    relatives: set[int],
    additions: list[dict[str, str]],
    ledger: Ledger,
    context: Context,
) -> dict[str, card.SplitCounts]:
    folder, megabytes = context.outputs["corpus"], context.parameters.shard_megabytes
    places = iter(assignment.splits)
    counts = {split: card.SplitCounts() for split in SPLITS}
    writers = {split: ShardWriter(folder, split, megabytes) for split in SPLITS}
    with writers["train"], writers["validation"], writers["test"]:
        for number, row in enumerate(_staged_rows(staged)):
            if number in kept.held or number in relatives:
                document = Document(**{key: value for key, value in row.items() if key != "id"})
                if number in kept.held:
                    ledger.drop("held_out_by_task", document, "answers instruction_data of a held-out split")
                else:
                    ledger.drop("held_out_relative", document, "resembles a held-out document, or is its sibling")
                continue
            split = "test" if number in kept.frozen else next(places)
            writers[split].write(row)
            counts[split].add(row)
        for fields in additions:
            row = Document(**fields).row()
            writers["train"].write(row)
            counts["train"].add(row)
    for split, writer in writers.items():
        if not writer.files and not context.parameters.sources:
            writer.write_empty()
        counts[split].close(writer)
    return counts


def _rows(corpus: Path) -> Iterator[dict[str, str]]:
    """Curated rows of all splits, with the split, without the instruction_data made for pretraining."""
    for split in SPLITS:
        for path in sorted(corpus.glob(f"{split}-*.parquet")):
            with pq.ParquetFile(path) as file:
                for batch in file.iter_batches():
                    yield from ({**row, "split": split} for row in batch.to_pylist() if row["kind"] != "question")


def _record(context: Context, metrics: dict[str, float]) -> None:
    read = int(metrics["documents_read"])
    context.record(
        Metric("documents_kept", metrics["documents_kept"], n=read, baselines={"documents_read": read}), headline=True
    )
    for name in ("characters_kept", "train_documents", "validation_documents", "test_documents", "question_documents"):
        context.record(Metric(name, metrics[name]))
    for name in ("share_kept", "duplicate_share"):
        context.record(Metric(name, metrics[name], n=read))
