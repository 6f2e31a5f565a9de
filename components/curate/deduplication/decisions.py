"""Which documents stay: the first of its kind, in the order of the judged files.

One rule, whatever the number of documents: a document is dropped if it is *exactly* an earlier one, or is at least
``threshold`` like an earlier document *that is kept*. (Connected components would also drop what is only like something
that is like it, and cost no less.) Only documents that share a band of their signatures are compared, in each such
bucket with the first :data:`~components.curate.deduplication.buckets.REPRESENTATIVES` that are kept.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from components.curate.deduplication import buckets
from components.curate.deduplication.buckets import REPRESENTATIVES, ROWS_PER_BAND, Buckets
from components.curate.deduplication.disk import Array, emptied, on_disk, release, require_room
from components.curate.deduplication.first import firsts
from components.curate.documents import taking_part
from components.curate.parameters import DeduplicationParameters
from core.errors import InputProblem

KEPT, EXACT, NEAR = 0, 1, 2
BLOCK = 1 << 16  # documents whose signatures are in memory
WORTH_COMPILING = 200_000  # documents: comparing so many takes longer than loading numba
_MOST = (1 << 32) - 1  # documents that can be numbered in 4 bytes
_LINKS = 1 << 20  # pairs that are gathered before they are written


@dataclass(frozen=True)
class DuplicateDecisions:
    """What becomes of the documents that break no rule, which are numbered in stable order. The arrays are on disk.

    Attributes:
        outcome: ``KEPT``, ``EXACT`` or ``NEAR`` (a duplicate), for each document; ``uint8``.
        of: number of the kept document that a duplicate repeats; of a kept one its own; ``uint32``.
        similarity: estimated Jaccard similarity to that document; ``float32``.
        links: pairs of kept documents at least ``split_threshold`` alike, which must share a split; ``uint32 [n, 2]``.
    """

    outcome: NDArray[np.uint8]
    of: NDArray[np.uint32]
    similarity: NDArray[np.float32]
    links: NDArray[np.uint32]


def decide(
    judged: Sequence[Path],
    parameters: DeduplicationParameters,
    folder: Path,
    *,
    block: int = BLOCK,
    representatives: int = REPRESENTATIVES,
) -> DuplicateDecisions:
    """Which documents of the judged files are kept.

    Memory: a block of signatures, and a partition of what is sorted (16 MiB). On disk 21 bytes a document, and for the
    time of the comparison at most 12 bytes a band, and behind it 22 a band.

    Args:
        judged: parquet files with the columns ``id``, ``rule`` (null: the document takes part) and ``signature``.
        folder: removed if it is there; holds the arrays of the result.
        block: documents that are looked at together; the result does not depend on it.
        representatives: kept documents of a bucket that a later one is compared with.

    Raises:
        InputProblem: there are more documents than numbers, or no room for them on the disk.
    """
    most = sum(pq.read_metadata(path).num_rows for path in judged)
    if most > _MOST:
        raise InputProblem(f"curate.sources: {most} documents, more than the {_MOST} that can be compared: use fewer")
    folder = emptied(folder)
    require_room(folder, 41 * most + buckets.bytes_needed(most, parameters.permutations), "finding duplicates")
    first = firsts(_identifiers(judged), most, folder / "exact")
    count = len(first)
    outcome = on_disk(folder / "outcome", count, np.uint8)
    of = on_disk(folder / "of", count, np.uint32)
    similarity = on_disk(folder / "similarity", count, np.float32)
    work = emptied(folder / "near")
    met = buckets.find(_signed(judged, first, block), count, parameters.permutations, work, block, representatives)
    rows = sum(int(met.shared[begin : begin + block].sum()) for begin in range(0, count, block))
    require_room(folder, (4 * parameters.permutations + 4) * rows, "comparing similar documents")
    signatures = on_disk(work / "signatures", (rows, parameters.permutations), np.uint32)
    numbers = on_disk(work / "numbers", rows, np.uint32)
    row, total = 0, 0
    with open(folder / "links", "wb") as links:
        for begin, values in _blocks(judged, block):
            end = begin + len(values)
            own, repeats = np.arange(begin, end), first[begin:end] != np.arange(begin, end)
            outcome[begin:end], of[begin:end], similarity[begin:end] = np.where(repeats, EXACT, KEPT), own, 1.0
            chosen = np.flatnonzero(met.shared[begin:end])
            signatures[row : row + len(chosen)] = values[chosen]
            numbers[row : row + len(chosen)] = begin + chosen
            for linked in _compared(
                met, begin // block, row, signatures, numbers, (outcome, of, similarity), parameters, count
            ):
                links.write(linked.tobytes())
                total += len(linked)
            row += len(chosen)
            of[begin:end] = of[first[begin:end]]
            release(first, outcome, of, similarity, met.places, met.shared, signatures, numbers)
    shutil.rmtree(work)
    shutil.rmtree(folder / "exact")
    return DuplicateDecisions(outcome, of, similarity, _read(folder / "links", total))


def _read(path: Path, pairs: int) -> NDArray[np.uint32]:
    return np.asarray(np.memmap(path, np.uint32, "r", shape=(pairs, 2))) if pairs else np.empty((0, 2), np.uint32)


def _identifiers(judged: Iterable[Path]) -> Iterator[NDArray[np.uint64]]:
    """Content hashes as two numbers each, ``[n, 2]``."""
    for batch in taking_part(judged, ["id"]):
        yield as_numbers(batch["id"])


def as_numbers(identifiers: pa.StringArray) -> NDArray[np.uint64]:
    """32 hexadecimal digits each as two numbers, which are ordered as these are, ``[n, 2]``."""
    digits = bytes.fromhex("".join(identifiers.to_pylist()))
    return np.frombuffer(digits, ">u8").reshape(-1, 2).astype(np.uint64)


def _blocks(judged: Iterable[Path], block: int) -> Iterator[tuple[int, NDArray[np.uint32]]]:
    """Number of the first document and signatures of each block of ``block`` documents; the last may be smaller."""
    waiting: list[NDArray[np.uint32]] = []
    held = begin = 0
    for batch in taking_part(judged, ["signature"]):
        values = _values(batch["signature"])
        while len(values):
            piece, values = values[: block - held], values[block - held :]
            waiting.append(piece)
            held += len(piece)
            if held == block:
                yield begin, np.concatenate(waiting)
                begin, waiting, held = begin + block, [], 0
    if held:
        yield begin, np.concatenate(waiting)


def _values(signatures: pa.FixedSizeBinaryArray) -> NDArray[np.uint32]:
    width = signatures.type.byte_width
    if not len(signatures):
        return np.empty((0, width // 4), np.uint32)
    content = np.frombuffer(signatures.buffers()[1], np.uint8)
    begin = signatures.offset * width
    return content[begin : begin + len(signatures) * width].view("<u4").reshape(-1, width // 4)


def _signed(
    judged: Iterable[Path], first: NDArray[np.uint32], block: int
) -> Iterator[tuple[NDArray[np.int64], NDArray[np.uint32]]]:
    """Numbers and signatures of the documents that repeat no other."""
    for begin, values in _blocks(judged, block):
        new = np.flatnonzero(first[begin : begin + len(values)] == np.arange(begin, begin + len(values)))
        yield begin + new, values[new]
        release(first)


def _compared(
    met: Buckets,
    block: int,
    row: int,
    signatures: NDArray[np.uint32],
    numbers: NDArray[np.uint32],
    decided: tuple[Array, Array, Array],
    parameters: DeduplicationParameters,
    documents: int,
) -> Iterator[NDArray[np.uint32]]:
    """Decide on the documents of a block that are in buckets, the first of which has ``row``; yield the links."""
    entries = met.of_block(block)
    if not len(entries):
        return
    begins = np.append(np.flatnonzero(np.diff(entries["number"], prepend=-1)), len(entries))
    taken = np.ascontiguousarray(entries["bucket"]).astype(np.int64)
    most = met.representatives * parameters.permutations // ROWS_PER_BAND  # that one document is compared with
    links = np.empty((_LINKS + most, 2), np.uint32)
    candidates = np.empty(most, np.int64)
    done = 0
    compare = _compare_compiled() if documents >= WORTH_COMPILING else _compare
    while done < len(begins) - 1:
        done, found = compare(
            done, row, begins, taken, met.places, signatures, numbers, *decided, links, candidates,
            parameters.threshold, parameters.split_threshold, met.representatives, _LINKS,
        )  # fmt: skip
        yield links[:found]


@cache
def _compare_compiled() -> Callable[..., Any]:
    from components.curate.text.code_points import compiled

    return compiled(_compare)


def _compare(
    done: int, row: int, begins: Array, taken: Array, places: Array, signatures: Array, numbers: Array, outcome: Array,
    of: Array, similarity: Array, links: Array, candidates: Array, threshold: float, split_threshold: float, most: int,
    enough: int,
) -> tuple[int, int]:  # fmt: skip
    """Go on with the documents of a block from the one at ``done``, until all are or ``enough`` links are found.

    Returns how far it came, and the number of links.
    """
    found = 0
    while done < len(begins) - 1 and found < enough:
        own = row + done
        count = 0
        for entry in range(begins[done], begins[done + 1]):
            place = taken[entry]
            for each in range(places[place]):
                candidates[count] = places[place + 1 + each]
                count += 1
        best, best_row, linked = 0.0, 0, found
        before = -1
        for other in np.sort(candidates[:count]):
            if other == before:
                continue
            before = other
            alike = np.count_nonzero(signatures[other] == signatures[own]) / signatures.shape[1]
            if alike > best:
                best, best_row = alike, other
            if alike >= split_threshold:
                links[found, 0], links[found, 1] = numbers[other], numbers[own]
                found += 1
        if best >= threshold:
            found = linked  # only documents that are kept are linked
            number = numbers[own]
            outcome[number], of[number], similarity[number] = 2, numbers[best_row], best
        else:
            for entry in range(begins[done], begins[done + 1]):
                place = taken[entry]
                if places[place] < most:
                    places[place] += 1
                    places[place + places[place]] = own
        done += 1
    return done, found
