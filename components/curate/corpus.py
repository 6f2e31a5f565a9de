"""From judged documents to the corpus: which of them are kept, what split each is in, and its shards."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from components.contract import Context
from components.curate import card, held_out
from components.curate.deduplication import EXACT, KEPT, NEAR, DuplicateDecisions, decide
from components.curate.documents import COLUMNS, FIELDS, Document, ShardWriter, taking_part
from components.curate.ledger import Ledger
from components.curate.pipeline import JudgedChunks
from components.curate.splitting import SPLITS, SplitAssignment, divide

DUPLICATES = {EXACT: "exact_duplicate", NEAR: "near_duplicate"}


@dataclass
class Kept:
    """The documents that deduplication leaves; texts are in the judged files.

    Attributes:
        decisions: of every document that breaks no rule.
        number: of each such document among the kept ones.
        identifiers, groups, origins, sizes: of the kept ones, in order.
        held: numbers of kept documents that a task holds out, or that repeat the text of such a document.
        first: how many of all documents, the first, are of ``split.held_out``.
        frozen: numbers of those among them that are kept.
        relatives: numbers of others that resemble one of these, or are its siblings.
        links: pairs of kept documents that must share a split.
    """

    decisions: DuplicateDecisions
    number: NDArray[np.int64]
    identifiers: list[str]
    groups: list[str]
    origins: list[str]
    sizes: list[int]
    held: set[int]
    first: int
    frozen: set[int]
    relatives: set[int]
    links: list[tuple[int, int]]

    @property
    def aside(self) -> set[int]:
        return self.held | self.frozen | self.relatives

    def duplicates(self) -> Counter[str]:
        """How many documents each of the two rules drops."""
        return Counter({rule: int((self.decisions.outcome == code).sum()) for code, rule in DUPLICATES.items()})


def choose(judgement: JudgedChunks, held: set[tuple[str, str]], folder: Path, context: Context) -> Kept:
    """Compare all documents with each other.

    A document that repeats one of ``held`` (kind and origin) is held out with it, whichever came first: the text itself
    must not be learnt.

    Args:
        folder: empty, for what does not fit into memory.
    """
    decisions = decide(judgement.paths, context.parameters.deduplication, folder)
    kept = decisions.outcome == KEPT
    number = np.cumsum(kept) - 1
    first = sum(batch.num_rows for batch in taking_part(judgement.paths[: judgement.frozen], []))
    columns: dict[str, list] = {name: [] for name in ("id", "group", "origin", "characters")}
    own: set[int] = set()
    place = 0
    for batch in taking_part(judgement.paths, ["id", "kind", "group", "origin", "characters"]):
        staying = batch.filter(pa.array(kept[place : place + batch.num_rows]))
        for name, values in columns.items():
            values += staying[name].to_pylist()
        if held:
            for index, key in enumerate(
                zip(batch["kind"].to_pylist(), batch["origin"].to_pylist(), strict=True), place
            ):
                if key in held and index >= first and decisions.of[index] >= first:
                    own.add(int(number[decisions.of[index]]))
        place += batch.num_rows
    frozen = set(range(int(kept[:first].sum())))
    links = [(int(number[one]), int(number[other])) for one, other in decisions.links]
    relatives = held_out.relatives(frozen, links, columns["group"], columns["origin"]) - own
    return Kept(
        decisions, number, columns["id"], columns["group"], columns["origin"], columns["characters"], own, first,
        frozen, relatives, links,
    )  # fmt: skip


def assign(kept: Kept, context: Context) -> SplitAssignment:
    """The splits of the documents that are not set aside; the test split has none of them where it stays."""
    aside = kept.aside
    numbers = [number for number in range(len(kept.identifiers)) if number not in aside]
    if not numbers:
        return SplitAssignment([], 0, 0, 0.0, [], 0)
    split = context.parameters.split
    position = {number: index for index, number in enumerate(numbers)}
    assignment = divide(
        [kept.identifiers[n] for n in numbers],
        [kept.groups[n] for n in numbers],
        [kept.sizes[n] for n in numbers],
        [(position[a], position[b]) for a, b in kept.links if a in position and b in position],
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


def write(
    judgement: JudgedChunks,
    kept: Kept,
    assignment: SplitAssignment,
    additions: list[dict[str, str]],
    ledger: Ledger,
    context: Context,
) -> dict[str, card.SplitCounts]:
    """Write the shards of every split; what is left out goes to the ledger. ``additions`` end the train split."""
    folder, megabytes = context.outputs["corpus"], context.parameters.shard_megabytes
    places = iter(assignment.splits)
    counts = {split: card.SplitCounts() for split in SPLITS}
    writers = {split: ShardWriter(folder, split, megabytes) for split in SPLITS}
    with writers["train"], writers["validation"], writers["test"]:
        for number, row in _sorted_out(judgement, kept, ledger):
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


def rows(corpus: Path) -> Iterator[dict[str, str]]:
    """Curated rows of all splits, with the split, without the instruction data made for pretraining."""
    for split in SPLITS:
        for path in sorted(corpus.glob(f"{split}-*.parquet")):
            with pq.ParquetFile(path) as file:
                for batch in file.iter_batches():
                    yield from ({**row, "split": split} for row in batch.to_pylist() if row["kind"] != "question")


def _sorted_out(judgement: JudgedChunks, kept: Kept, ledger: Ledger) -> Iterator[tuple[int, dict[str, str]]]:
    """Number and row of every document of the corpus; the others are counted as dropped."""
    decisions, place = kept.decisions, -1
    for batch in taking_part(judgement.paths, COLUMNS):
        for row in batch.select(list(COLUMNS)).to_pylist():
            place += 1
            number = int(kept.number[decisions.of[place]])
            if rule := DUPLICATES.get(int(decisions.outcome[place])):
                reason = f"repeats {kept.origins[number]}"
                if place < kept.first:
                    reason += ", held out like it"
                elif rule == "near_duplicate":
                    reason += f" (similarity {decisions.similarity[place]:.2f})"
                ledger.drop(rule, _document(row), reason)
            elif number in kept.held:
                ledger.drop("held_out_by_task", _document(row), "answers instruction_data of a held-out split")
            elif number in kept.relatives:
                ledger.drop("held_out_relative", _document(row), "resembles a held-out document, or is its sibling")
            else:
                yield number, row


def _document(row: dict[str, str]) -> Document:
    return Document(**{name: row[name] for name in FIELDS})
