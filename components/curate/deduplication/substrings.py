"""Passages that stand in earlier text are cut out of later documents (Lee et al. 2022, EXACTSUBSTR).

It is done among the documents that are kept, so that what repeats another as a whole is dropped as its duplicate. Those
of ``split.held_out`` and of ``deduplication.against`` count as earlier text, and stay as they are.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import pairwise
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from components.contract import Context
from components.curate.corpus import Kept
from components.curate.deduplication.decisions import EXACT, as_numbers
from components.curate.deduplication.disk import emptied, release
from components.curate.deduplication.first import firsts
from components.curate.documents import COLUMNS, FIELDS, Document, identifier, taking_part
from components.curate.held_out import BLOCK, HELD, KEPT, RELATIVE
from components.curate.ledger import Ledger
from components.curate.pipeline import JudgedChunks
from components.curate.process import extra_columns

RULE = "repeated_passages"
_CHANGE = "passages removed that stand in earlier text"
_LONGEST_WORD = 32  # characters; what is longer (or a text without spaces) is cut as it comes


def remove(judgement: JudgedChunks, kept: Kept, ledger: Ledger, context: Context) -> JudgedChunks:
    """The same judged documents without such passages; a document of which little is left is dropped.

    ``kept`` is brought up to date: sizes, content hashes and marks. A document that equals an earlier one after that is
    a duplicate.
    """
    rules = context.parameters.deduplication.substrings
    if rules is None:
        return judgement
    from components.curate.deduplication import repeats  # numba, only where it is used

    def texts() -> Iterator[list[str]]:
        begin = 0
        for batch in taking_part(judgement.paths, ["text"]):
            compared = _compared(kept, begin, begin + batch.num_rows)
            begin += batch.num_rows
            yield batch["text"].filter(pa.array(compared)).to_pylist()

    folder, length = emptied(kept.folder / "substrings"), rules.min_characters
    sizes = [
        int(kept.sizes[begin : begin + BLOCK][_compared(kept, begin, begin + BLOCK)].sum(dtype=np.int64))
        for begin in range(0, len(kept.marks), BLOCK)
    ]
    found = repeats.find(texts, sum(sizes), length, context.seed, folder / "repeats")
    schema = pa.schema([*((name, pa.string()) for name in (*COLUMNS, "rule")), *extra_columns(context.parameters)])
    counts, paths, begin, place = Counter[str](), list[Any](), 0, 0
    for number, path in enumerate(judgement.paths):
        fresh = number >= judgement.frozen + judgement.compared
        paths.append(folder / f"{number:08d}.parquet" if fresh else path)
        rewritten = pq.ParquetWriter(paths[-1], schema, compression="zstd", write_page_checksum=True) if fresh else None
        for batch in taking_part([path], [*COLUMNS, *(column.name for column in extra_columns(context.parameters))]):
            chosen = np.flatnonzero(_compared(kept, begin, begin + batch.num_rows))
            ends = place + np.cumsum(kept.sizes[begin + chosen], dtype=np.int64)
            place = int(ends[-1]) if len(ends) else place
            places = found.until(place)
            if rewritten is not None:
                batch = _cut(batch, begin, chosen, ends, places, length, kept, ledger, counts)
                rewritten.write_batch(batch.select(schema.names))
            begin += batch.num_rows
            release(kept.identifiers, kept.sizes, kept.marks)
        if rewritten is not None:
            rewritten.close()
    _become_duplicates(kept)
    ledger.notes["deduplication.substrings"] = {
        name: counts[name] for name in ("documents cut", "documents dropped", "characters removed")
    }
    kept.paths = paths
    return replace(judgement, paths=paths)


def _compared(kept: Kept, begin: int, end: int) -> NDArray[np.bool_]:
    """Of so many documents which are compared: those of the corpus, and all of an earlier one."""
    marks = kept.marks[begin:end]
    numbers = np.arange(begin, begin + len(marks))
    return ((marks & (KEPT | HELD | RELATIVE)) == KEPT) | ((numbers >= kept.first) & (numbers < kept.fresh))


def _cut(
    batch: pa.RecordBatch,
    begin: int,
    chosen: NDArray[np.int64],
    ends: NDArray[np.int64],
    places: NDArray[np.int64],
    length: int,
    kept: Kept,
    ledger: Ledger,
    counts: Counter[str],
) -> pa.RecordBatch:
    """The batch with the passages cut out.

    Args:
        begin: number of the first document.
        chosen: the documents that were compared, by their places in the batch.
        ends: where these end in the row of all texts.
        places: where repeats begin there.
    """
    if not len(places):
        return batch
    rows = batch.select(list(FIELDS)).to_pylist()
    texts, identifiers = [row["text"] for row in rows], batch["id"].to_pylist()
    edges = np.searchsorted(places, ends)
    for which in np.flatnonzero(np.diff(edges, prepend=0)):
        row, document = chosen[which], Document(**rows[chosen[which]])
        starts = places[edges[which - 1] if which else 0 : edges[which]] - (ends[which] - len(document.text))
        found = (_of_whole_words(document.text, *passage) for passage in _joined(starts, length))
        passages = [passage for passage in found if passage]
        pieces = _left(document.text, passages)
        left = sum(map(len, pieces))
        if not passages:
            continue
        counts["characters removed"] += len(document.text) - left
        if left < length:
            kept.marks[begin + row] &= ~np.uint8(KEPT)
            counts["documents dropped"] += 1
            ledger.drop(RULE, document, f"all but {left} of {len(document.text)} characters stand in earlier text")
            continue
        texts[row] = "\n\n".join(pieces)
        identifiers[row] = identifier(texts[row])
        kept.sizes[begin + row] = len(texts[row])
        kept.identifiers[begin + row] = as_numbers(pa.array([identifiers[row]]))[0]
        counts["documents cut"] += 1
        ledger.change(_CHANGE, len(passages))
        ledger.show(_CHANGE, document, document.text, texts[row])
    new = {"text": pa.array(texts, pa.string()), "id": pa.array(identifiers, pa.string())}
    return pa.RecordBatch.from_pydict({name: new.get(name, batch[name]) for name in batch.schema.names}, batch.schema)


def _joined(starts: NDArray[np.int64], length: int) -> list[tuple[int, int]]:
    """Begin and end of the passages that stretches, which begin here, make together."""
    first = np.flatnonzero(np.diff(starts, prepend=-length - 1) > length)
    last = np.append(first[1:], len(starts)) - 1
    return list(zip(starts[first].tolist(), (starts[last] + length).tolist(), strict=True))


def _of_whole_words(text: str, begin: int, end: int) -> tuple[int, int] | None:
    """The part of a passage that cuts no word in two, nor the sign from its end."""
    from_word, to_word = begin, end
    while from_word < end and _within_word(text, from_word):
        from_word += 1
    while to_word > begin and _within_word(text, to_word):
        to_word -= 1
    begin = from_word if from_word - begin <= _LONGEST_WORD else begin
    end = to_word if end - to_word <= _LONGEST_WORD else end
    return (begin, end) if begin < end else None


def _within_word(text: str, place: int) -> bool:
    return 0 < place < len(text) and not text[place - 1].isspace() and not text[place].isspace()


def _left(text: str, passages: Sequence[tuple[int, int]]) -> list[str]:
    """The pieces between passages that are more than white space."""
    edges = [0, *(edge for passage in passages for edge in passage), len(text)]
    pieces = [text[begin:end] for begin, end in list(pairwise(edges))[::2]]
    return [piece.strip() for piece in pieces if piece.strip()]


def _become_duplicates(kept: Kept) -> None:
    """Mark kept documents that equal an earlier one now."""
    keys = (kept.identifiers[begin : begin + BLOCK] for begin in range(0, len(kept.marks), BLOCK))
    first = firsts(keys, len(kept.marks), kept.folder / "substrings" / "equal")
    for begin in range(0, len(first), BLOCK):
        part = first[begin : begin + BLOCK]
        numbers = begin + np.flatnonzero(
            (part != np.arange(begin, begin + len(part))) & (kept.marks[begin : begin + BLOCK] == KEPT)
        )
        kept.marks[numbers] = 0
        kept.decisions.outcome[numbers], kept.decisions.of[numbers] = EXACT, first[numbers]
