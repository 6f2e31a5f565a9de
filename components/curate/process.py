"""From a batch of documents to a batch of judged ones: pure, and the same wherever it runs."""

from __future__ import annotations

from typing import Any

import pyarrow as pa

from components.curate import batches
from components.curate.deduplication.signatures import signatures
from components.curate.documents import FIELDS, Document, identifier
from components.curate.ledger import Ledger
from components.curate.mojibake import repaired
from components.curate.parameters import CurateParameters
from components.curate.quality import Finding, c4_lines

EMPTY: Finding = ("empty", "")


def schema(parameters: CurateParameters) -> pa.Schema:
    """Columns of judged documents: those of a document and

    ``id`` content hash; ``characters`` of the text; ``rule`` that the document breaks (null: none) and the ``reason``;
    ``signature``: MinHash values, 32 bits each, little-endian (null where a rule is broken).
    """
    return pa.schema(
        [
            *((name, pa.string()) for name in FIELDS),
            ("id", pa.string()),
            ("characters", pa.int64()),
            ("rule", pa.string()),
            ("reason", pa.string()),
            ("signature", pa.binary(4 * parameters.deduplication.permutations)),
        ]
    )


def process(
    batch: pa.RecordBatch, parameters: CurateParameters, seed: int, ledger: Ledger, *, compiled: bool = False
) -> pa.RecordBatch:
    """Clean, redact, judge and sign; what was changed and dropped goes to the ledger.

    Args:
        batch: the columns of a document.
        compiled: by compiled code, which is worth its start where there is much text; the result is the same.

    Returns:
        As many rows, in the same order, with the columns of :func:`schema`.
    """
    documents = [Document(**row) for row in batch.to_pylist()]
    texts = [document.text for document in documents]
    if parameters.repair_mojibake:
        for place, text in enumerate(texts):
            texts[place] = repaired(text)
            if texts[place] != text:
                ledger.change("documents with repaired mojibake")
                ledger.show("repaired mojibake", documents[place], text, texts[place])
    texts = batches.cleaned(texts, parameters.unicode_form, compiled=compiled)
    for text in texts:
        if "\ufffd" in text:
            ledger.change("documents with a replacement character")
    redacted = batches.redacted(texts, parameters.redact, compiled=compiled)
    for document, before, (text, redactions) in zip(documents, texts, redacted, strict=True):
        for name, count in redactions.items():
            ledger.change(f"redacted {name}", count)
        if redactions:
            ledger.change("documents with a redaction")
            ledger.show("redacted", document, before, text, secret=True)
    texts = [text for text, _ in redacted]
    if parameters.quality.c4:
        for place, text in enumerate(texts):
            texts[place], removed = c4_lines(text, parameters.quality.c4)
            if removed:
                ledger.change("lines removed by C4's rules", removed)
                ledger.show("lines removed by C4's rules", documents[place], text, texts[place])
    documents = [document.with_text(text) for document, text in zip(documents, texts, strict=True)]
    judged = iter(batches.judged([text for text in texts if text.strip()], parameters.quality, compiled=compiled))
    findings = [next(judged) if text.strip() else EMPTY for text in texts]
    for document, finding in zip(documents, findings, strict=True):
        if finding:
            ledger.drop(finding[0], document, finding[1])
    return sign(documents, findings, parameters, seed, compiled=compiled)


def as_it_is(batch: pa.RecordBatch, parameters: CurateParameters, seed: int) -> pa.RecordBatch:
    """As :func:`process`, for documents that are kept to the letter."""
    return sign([Document(**row) for row in batch.to_pylist()], [None] * batch.num_rows, parameters, seed)


def sign(
    documents: list[Document],
    findings: list[Finding | None],
    parameters: CurateParameters,
    seed: int,
    *,
    compiled: bool = False,
) -> pa.RecordBatch:
    """The rows of documents whose broken rules are known."""
    texts = [document.text for document, finding in zip(documents, findings, strict=True) if finding is None]
    signed = iter(signatures(texts, parameters.deduplication, seed, compiled=compiled))
    columns: dict[str, list[Any]] = {
        **{name: [getattr(document, name) for document in documents] for name in FIELDS},
        "id": [identifier(document.text) for document in documents],
        "characters": [len(document.text) for document in documents],
        "rule": [finding and finding[0] for finding in findings],
        "reason": [finding and finding[1] for finding in findings],
        "signature": [next(signed).astype("<u4").tobytes() if finding is None else None for finding in findings],
    }
    return pa.RecordBatch.from_pydict(columns, schema=schema(parameters))
