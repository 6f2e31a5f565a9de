"""From judged documents to the corpus: which of them are kept, what split each is in, and its shards."""

from __future__ import annotations

import hashlib
import heapq
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from components.contract import Context
from components.curate import card, held_out
from components.curate.deduplication.decisions import EXACT, NEAR, DuplicateDecisions, as_numbers, decide
from components.curate.deduplication.disk import emptied, on_disk, release
from components.curate.deduplication.first import firsts
from components.curate.documents import COLUMNS, FIELDS, Document, ShardWriter, taking_part
from components.curate.held_out import FROZEN, HELD, KEPT, RELATIVE
from components.curate.ledger import Ledger
from components.curate.pipeline import JudgedChunks
from components.curate.process import extra_columns
from components.curate.splitting import NONE, SPLITS, SplitAssignment, divide

DUPLICATES = {EXACT: "exact_duplicate", NEAR: "near_duplicate"}


@dataclass
class Kept:
    """What is known of the documents that break no rule, which are numbered in stable order.

    Texts are in the judged files, the arrays in files of their own (25 bytes a document, and 9 of the decisions).

    Attributes:
        decisions: which of them repeat others.
        identifiers: their content hashes, ``[n, 2]``.
        groups: the first document of each one's group.
        sizes: characters.
        marks: ``KEPT`` where it repeats none; with it ``FROZEN`` where it is of ``split.held_out``, ``HELD`` where a
            task holds it out, or it repeats the text of such a document, ``RELATIVE`` where it resembles one that is
            frozen, or is its sibling.
        first: how many of all documents, the first, are of ``split.held_out``.
        fresh: number of the first document of the sources; what lies between is of ``deduplication.against``.
        begins: number of the first document of each judged file, and of all.
        paths: these files.
        folder: of the arrays.
    """

    decisions: DuplicateDecisions
    identifiers: NDArray[np.uint64]
    groups: NDArray[np.uint32]
    sizes: NDArray[np.uint32]
    marks: NDArray[np.uint8]
    first: int
    fresh: int
    begins: list[int]
    paths: Sequence[Path]
    folder: Path

    @property
    def new(self) -> int:
        """How many are kept, but for those that are held out, now or before."""
        return sum(int(((part & (KEPT | HELD | FROZEN)) == KEPT).sum()) for part in _parts(self.marks))

    def duplicates(self) -> Counter[str]:
        """How many documents each of the two rules drops."""
        return Counter(
            {
                rule: sum(int((part == code).sum()) for part in _parts(self.decisions.outcome[self.fresh :]))
                for code, rule in DUPLICATES.items()
            }
        )

    def origin(self, number: int) -> str:
        """Where a document is from; its file is read for it."""
        file = int(np.searchsorted(self.begins, number, side="right")) - 1
        left = number - self.begins[file]
        for batch in taking_part([self.paths[file]], ["origin"]):
            if left < batch.num_rows:
                return str(batch["origin"][left].as_py())
            left -= batch.num_rows
        raise IndexError(number)


def choose(judgement: JudgedChunks, held: set[tuple[str, str]], folder: Path, context: Context) -> Kept:
    """Compare all documents with each other.

    A document that repeats one of ``held`` (kind and origin) is held out with it, whichever came first: the text itself
    must not be learnt.

    Args:
        folder: for what does not fit into memory.
    """
    paths = judgement.paths
    decisions = decide(paths, context.parameters.deduplication, folder / "duplicates")
    begins = [0]
    for path in paths:
        begins.append(begins[-1] + sum(batch.num_rows for batch in taking_part([path], [])))
    first, fresh, count = begins[judgement.frozen], begins[judgement.frozen + judgement.compared], begins[-1]
    groups = firsts(_groups(paths), count, folder / "groups")
    own = emptied(folder / "documents")
    identifiers = on_disk(own / "identifiers", (count, 2), np.uint64)
    sizes, marks = on_disk(own / "sizes", count, np.uint32), on_disk(own / "marks", count, np.uint8)
    shared = on_disk(own / "shared", count, np.uint8)
    begin = 0
    for batch in taking_part(paths, ["id", "kind", "group", "origin", "characters"]):
        end = begin + batch.num_rows
        identifiers[begin:end] = as_numbers(batch["id"])
        sizes[begin:end] = batch["characters"].to_numpy(zero_copy_only=False)
        numbers = np.arange(begin, end)
        staying = (decisions.outcome[begin:end] == 0) & ((numbers < first) | (numbers >= fresh))
        marks[begin:end] |= staying.astype(np.uint8) * KEPT
        if held:
            for number, key in enumerate(
                zip(batch["kind"].to_pylist(), batch["origin"].to_pylist(), strict=True), begin
            ):
                if key in held and number >= fresh and decisions.of[number] >= fresh:
                    marks[decisions.of[number]] |= HELD
        if begin < first:
            frozen = begin + np.flatnonzero(marks[begin : min(end, first)] & KEPT)
            marks[frozen] |= FROZEN
            apart = np.array(batch["group"].to_pylist()) != np.array(batch["origin"].to_pylist())
            shared[groups[frozen[apart[frozen - begin]]]] = 1
        begin = end
        release(identifiers, sizes, marks, decisions.outcome, decisions.of, groups, shared)
    if first:
        held_out.mark_relatives(marks, groups, shared, decisions.links)
    return Kept(decisions, identifiers, groups, sizes, marks, first, fresh, begins, paths, folder)


def _parts(array: NDArray[np.uint8]) -> Iterator[NDArray[np.uint8]]:
    for begin in range(0, len(array), held_out.BLOCK):
        yield array[begin : begin + held_out.BLOCK]


def _groups(paths: Sequence[Path]) -> Iterator[NDArray[np.uint64]]:
    """128 bits of the hash of each document's group."""
    for batch in taking_part(paths, ["group"]):
        column = batch["group"].dictionary_encode()
        digests = [hashlib.blake2b(name.encode(), digest_size=16).digest() for name in column.dictionary.to_pylist()]
        hashed = np.frombuffer(b"".join(digests), "<u8").reshape(-1, 2)
        yield hashed[column.indices.to_numpy(zero_copy_only=False)]


def assign(kept: Kept, context: Context) -> SplitAssignment:
    """The splits of the documents that are not set aside; the test split has none of them where it stays."""
    split = context.parameters.split
    taking = on_disk(kept.folder / "taking", len(kept.marks), np.uint8)
    for begin in range(0, len(taking), held_out.BLOCK):
        taking[begin : begin + held_out.BLOCK] = kept.marks[begin : begin + held_out.BLOCK] == KEPT
    assignment = divide(
        kept.identifiers,
        kept.groups,
        kept.sizes,
        taking,
        kept.decisions.links,
        split.model_copy(update={"test": 0.0}) if split.held_out else split,
        context.seed,
        kept.folder / "splits",
    )
    if assignment.largest_share > 0.25 and assignment.clusters > 1:
        names = ", ".join(largest_groups(kept, assignment))
        context.warn(
            f"one cluster of related documents holds {assignment.largest_share:.0%} of the text and stays in train; it "
            f"joins groups such as {names}. A higher deduplication.split_threshold divides it"
        )
    return assignment


def largest_groups(kept: Kept, assignment: SplitAssignment) -> list[str]:
    """Groups that the largest cluster joins, commonest first, at most five."""
    if not assignment.clusters:
        return []
    members = on_disk(kept.folder / "members", len(kept.marks), np.uint32)
    for begin in range(0, len(members), held_out.BLOCK):
        part = slice(begin, begin + held_out.BLOCK)
        chosen = (assignment.roots[part] == assignment.largest) & (assignment.splits[part] != NONE)
        np.add.at(members, kept.groups[part][chosen], 1)
    named: list[tuple[int, str]] = []
    begin = 0
    for batch in taking_part(kept.paths, ["group"]):
        found = np.flatnonzero(members[begin : begin + batch.num_rows])
        names = batch["group"].take(pa.array(found)).to_pylist()
        named += zip((-members[begin + found].astype(np.int64)).tolist(), names, strict=True)
        named = heapq.nsmallest(5, named)
        begin += batch.num_rows
    return [name for _, name in named]


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
    counts = {split: card.SplitCounts() for split in SPLITS}
    extra = extra_columns(context.parameters)
    writers = {split: ShardWriter(folder, split, megabytes, extra) for split in SPLITS}
    with writers["train"], writers["validation"], writers["test"]:
        for number, row in _sorted_out(judgement, kept, ledger, [*COLUMNS, *(column.name for column in extra)]):
            split = "test" if number < kept.first else SPLITS[assignment.splits[number]]
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


def _sorted_out(
    judgement: JudgedChunks, kept: Kept, ledger: Ledger, columns: list[str]
) -> Iterator[tuple[int, dict[str, str]]]:
    """Number and row (of these columns) of every document of the corpus; the others are counted as dropped."""
    begin = repeated = 0
    for batch in taking_part(judgement.paths, columns):
        part = slice(begin, begin + batch.num_rows)
        outcomes, of = kept.decisions.outcome[part].tolist(), kept.decisions.of[part].tolist()
        marks = kept.marks[part].tolist()
        for place, row in enumerate(batch.select(columns).to_pylist()):
            if kept.first <= begin + place < kept.fresh:
                continue
            if rule := DUPLICATES.get(outcomes[place]):
                repeated += kept.first <= of[place] < kept.fresh
                ledger.drop(rule, _document(row), partial(_repeats, kept, begin + place, of[place]))
            elif marks[place] & HELD:
                ledger.drop("held_out_by_task", _document(row), "answers instruction_data of a held-out split")
            elif marks[place] & RELATIVE:
                ledger.drop("held_out_relative", _document(row), "resembles a held-out document, or is its sibling")
            elif marks[place] & KEPT:  # else little was left of it
                yield begin + place, row
        begin += batch.num_rows
        release(kept.decisions.outcome, kept.decisions.of, kept.marks)
    if kept.fresh > kept.first:
        ledger.notes["deduplication.against"] = {"documents": kept.fresh - kept.first, "repeated by new ones": repeated}


def _repeats(kept: Kept, number: int, of: int) -> str:
    reason = f"repeats {kept.origin(of)}{' of the earlier corpus' if kept.first <= of < kept.fresh else ''}"
    if number < kept.first:
        return f"{reason}, held out like it"
    if kept.decisions.outcome[number] == NEAR:
        return f"{reason} (similarity {kept.decisions.similarity[number]:.2f})"
    return reason


def _document(row: dict[str, str]) -> Document:
    return Document(**{name: row[name] for name in FIELDS})
