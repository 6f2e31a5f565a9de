"""Lines, or paragraphs, that many documents share are removed from all of them (Wenzek et al. 2019, CCNet): menus,
licence headers, cookie notices.

Counted are the documents that deduplication would keep, so that no text is removed for being copied as a whole. The
hashes are divided into files on disk and sorted; memory holds those alone of which there are enough.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from components.contract import Context
from components.curate.deduplication.decisions import KEPT, decide
from components.curate.deduplication.disk import PARTITION, emptied
from components.curate.deduplication.first import part_of
from components.curate.documents import FIELDS, Document, taking_part
from components.curate.ledger import Ledger
from components.curate.parameters import CurateParameters, LinesParameters
from components.curate.pipeline import JudgedChunks
from components.curate.process import sign
from core.partitions import Partitions

RULE = "repeated_lines"
_HASH = np.dtype("<u8")
_SEPARATORS = {"line": "\n", "paragraph": "\n\n"}
_ANEW = ("text", "id", "characters", "rule", "reason", "signature")
_GAP = re.compile(r"\n{3,}")


def remove(judgement: JudgedChunks, folder: Path, ledger: Ledger, context: Context) -> JudgedChunks:
    """The same judged documents without such lines; a document that had nothing else is dropped.

    Documents of an earlier corpus are counted, and stay as they are.

    Args:
        folder: for what does not fit into memory, the new judged files among it.
    """
    parameters = context.parameters
    rules: LinesParameters | None = parameters.deduplication.lines
    if rules is None:
        return judgement
    folder = emptied(folder / "lines")
    outcome = decide(judgement.paths, parameters.deduplication, folder / "duplicates").outcome
    often = _often(judgement.paths, outcome, rules, folder)
    earlier = judgement.frozen + judgement.compared
    paths = list(judgement.paths[:earlier])
    for number, path in enumerate(judgement.paths[earlier:]):
        paths.append(folder / f"{number:08d}.parquet")
        _rewrite(path, paths[-1], often, rules, parameters, context.seed, ledger)
    return replace(judgement, paths=paths)


def _often(
    paths: Sequence[Path], outcome: NDArray[np.uint8], rules: LinesParameters, folder: Path
) -> NDArray[np.uint64]:
    """Hashes of the units that at least ``min_count`` of the kept documents hold, in order."""
    size = sum(path.stat().st_size for path in paths)
    parts = max(1, size // PARTITION)  # a line of text is longer than its hash: most partitions are smaller
    partitions, begin = Partitions(folder / "hashes", _HASH), 0
    for batch in taking_part(paths, ["text"]):
        kept = batch["text"].filter(pa.array(outcome[begin : begin + batch.num_rows] == KEPT))
        begin += batch.num_rows
        hashes, owners = _hashed(kept, rules)
        order = np.lexsort((hashes, owners))
        hashes, owners = hashes[order], owners[order]
        first = np.append(True, (hashes[1:] != hashes[:-1]) | (owners[1:] != owners[:-1]))[: len(hashes)]
        once = hashes[first & (hashes > 0)]  # however often in one document
        partitions.add(once, part_of(once, parts))
    found = []
    for part in range(parts):
        values, counts = np.unique(partitions.take(part), return_counts=True)
        found.append(values[counts >= rules.min_count])
    return np.concatenate(found)


def _rewrite(
    path: Path,
    target: Path,
    often: NDArray[np.uint64],
    rules: LinesParameters,
    parameters: CurateParameters,
    seed: int,
    ledger: Ledger,
) -> None:
    """Write the documents of a judged file without the units whose hashes are ``often``."""
    separator, what = _SEPARATORS[rules.unit], f"{rules.unit}s removed that many documents share"
    names = [name for name in pq.read_schema(path).names if name != "rule"]
    with pq.ParquetWriter(target, pq.read_schema(path), compression="zstd", write_page_checksum=True) as writer:
        for batch in taking_part([path], names):
            hashes, owners = _hashed(batch["text"], rules)
            gone = (often[np.searchsorted(often, hashes) % max(len(often), 1)] == hashes) if len(often) else hashes < 0
            changed = np.unique(owners[gone]).tolist()
            if changed:
                starts = np.searchsorted(owners, np.arange(batch.num_rows + 1))
                rows = batch.select(list(FIELDS)).to_pylist()
                documents, findings = [], []
                for place in changed:
                    document = Document(**rows[place])
                    stays = ~gone[starts[place] : starts[place + 1]]
                    units = document.text.split(separator)
                    text = separator.join(unit for unit, stay in zip(units, stays, strict=True) if stay)
                    text = _GAP.sub("\n\n", text).strip("\n")
                    ledger.change(what, int((~stays).sum()))
                    if text.strip():
                        ledger.show(what, document, document.text, text)
                    else:
                        ledger.drop(RULE, document, f"each {rules.unit} is in many documents")
                    documents.append(document.with_text(text))
                    findings.append(None if text.strip() else (RULE, ""))
                codes = batch["language"].take(pa.array(changed)).to_pylist() if "language" in names else None
                batch = _with(batch, changed, sign(documents, findings, parameters, seed, codes))
            writer.write_batch(batch.select(pq.read_schema(path).names))


def _with(batch: pa.RecordBatch, places: list[int], signed: pa.RecordBatch) -> pa.RecordBatch:
    """The batch with other texts at these places, and what follows from a text; what was found of it before stays."""
    mask = np.zeros(batch.num_rows, bool)
    mask[places] = True
    columns = {
        name: pc.replace_with_mask(batch[name], pa.array(mask), signed[name]) if name in _ANEW else batch[name]
        for name in batch.schema.names
    }
    return pa.RecordBatch.from_pydict(columns, schema=batch.schema)


def _hashed(texts: pa.StringArray, rules: LinesParameters) -> tuple[NDArray[np.uint64], NDArray[np.int64]]:
    """Hash of every unit and the place of its text; 0 for one that is too short to be counted."""
    split = pc.split_pattern(texts, _SEPARATORS[rules.unit])
    owners = pc.list_parent_indices(split).to_numpy()
    encoded = split.flatten().dictionary_encode()
    plain = _normalized(encoded.dictionary)
    long = pc.greater_equal(pc.utf8_length(plain), rules.min_characters).to_pylist()
    values = np.array(
        [_hash(text) if each else 0 for text, each in zip(plain.to_pylist(), long, strict=True)], np.uint64
    )
    return values[encoded.indices.to_numpy()], owners


def _hash(text: str) -> int:
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest())


def _normalized(units: pa.StringArray) -> pa.StringArray:
    """In lower case, without punctuation and accents, each digit as 0."""
    plain = pc.utf8_lower(pc.utf8_normalize(units, "NFD"))
    plain = pc.replace_substring_regex(plain, r"\pM+", "")
    plain = pc.replace_substring_regex(plain, r"\pN", "0")
    return pc.utf8_trim_whitespace(pc.replace_substring_regex(plain, r"[^\pL0]+", " "))
