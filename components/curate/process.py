"""From a batch of documents to a batch of judged ones: pure, and the same wherever it runs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pyarrow as pa

from components.curate import batches
from components.curate.deduplication.signatures import signatures
from components.curate.documents import FIELDS, Document, identifier
from components.curate.filters import classifiers, perplexity, scripts
from components.curate.filters.quality import Finding
from components.curate.ledger import Ledger
from components.curate.parameters import CurateParameters
from components.curate.privacy import entities
from components.curate.privacy.placeholders import Placeholder, typed
from components.curate.text import language
from components.curate.text.mojibake import repaired

EMPTY: Finding = ("empty", "")


def extra_columns(parameters: CurateParameters) -> list[pa.Field]:
    """Columns that documents have, on their way and in the corpus, only where the parameters ask for them."""
    scores = [pa.field(each.name, pa.float32()) for each in parameters.classifiers]
    if parameters.quality.perplexity:
        scores.insert(0, pa.field(perplexity.COLUMN, pa.float32()))
    return [*([pa.field("language", pa.string())] if parameters.language else []), *scores]


def schema(parameters: CurateParameters) -> pa.Schema:
    """Columns of judged documents: those of a document and

    ``id`` content hash; ``characters`` of the text; ``rule`` that the document breaks (null: none) and the ``reason``;
    ``signature``: MinHash values, 32 bits each, little-endian (null where a rule is broken); and of
    :func:`extra_columns` ``language``, its code, ``bits_per_byte``, and the score by each classifier under its name
    (null where a rule before it is broken).
    """
    return pa.schema(
        [
            *((name, pa.string()) for name in FIELDS),
            ("id", pa.string()),
            ("characters", pa.int64()),
            ("rule", pa.string()),
            ("reason", pa.string()),
            ("signature", pa.binary(4 * parameters.deduplication.permutations)),
            *extra_columns(parameters),
        ]
    )


def process(
    batch: pa.RecordBatch,
    parameters: CurateParameters,
    seed: int,
    ledger: Ledger,
    *,
    models: Sequence[classifiers.Classifier] = (),
    buckets: perplexity.PerplexityBuckets | None = None,
    finder: entities.Finder | None = None,
    placeholder: Placeholder = typed,
    compiled: bool = False,
) -> pa.RecordBatch:
    """Clean, redact, judge and sign; what was changed and dropped goes to the ledger.

    Args:
        batch: the columns of a document.
        models: of ``parameters.classifiers``.
        buckets: of ``parameters.quality.perplexity``.
        finder: of ``parameters.ner``.
        placeholder: what is written for personal data.
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
    kinds = [document.kind for document in documents]
    spoken = language.identify(texts, kinds, parameters.language) if parameters.language else None
    redacted = batches.redacted(texts, parameters.redact, placeholder, compiled=compiled)
    if finder is not None:
        named = finder.redact([text for text, _ in redacted], placeholder)
        redacted = [(text, known + names) for (_, known), (text, names) in zip(redacted, named, strict=True)]
    for document, before, (text, redactions) in zip(documents, texts, redacted, strict=True):
        for name, count in redactions.items():
            ledger.change(f"redacted {name}", count)
        if redactions:
            ledger.change("documents with a redaction")
            ledger.show("redacted", document, before, text, secret=True)
    texts = [text for text, _ in redacted]
    codes = None if spoken is None else [each.code for each in spoken]
    if parameters.quality.c4:
        for place, (text, removed) in enumerate(scripts.c4_lines(texts, codes, parameters.quality)):
            if removed:
                ledger.change("lines removed by C4's rules", removed)
                ledger.show("lines removed by C4's rules", documents[place], texts[place], text)
                texts[place] = text
    documents = [document.with_text(text) for document, text in zip(documents, texts, strict=True)]
    findings: list[Finding | None] = [None if text.strip() else EMPTY for text in texts]
    if spoken is not None and parameters.language:
        ledger.languages.update(each.code for each in spoken)
        for place, each in enumerate(spoken):
            findings[place] = findings[place] or each.finding(parameters.language)
    left = [place for place, finding in enumerate(findings) if finding is None]
    judged = scripts.judged(
        [texts[place] for place in left], codes and [codes[place] for place in left], parameters.quality,
        compiled=compiled,
    )  # fmt: skip
    for place, finding in zip(left, judged, strict=True):
        findings[place] = finding
    bits = perplexity.judge(texts, findings, buckets, ledger, codes)
    scores = classifiers.judge(texts, findings, models, ledger)
    if buckets is not None:
        scores[perplexity.COLUMN] = bits
    for document, broken in zip(documents, findings, strict=True):
        if broken:
            ledger.drop(broken[0], document, broken[1])
    return sign(documents, findings, parameters, seed, codes, scores, compiled=compiled)


def as_it_is(batch: pa.RecordBatch, parameters: CurateParameters, seed: int, ledger: Ledger) -> pa.RecordBatch:
    """As :func:`process`, for documents that are kept to the letter."""
    documents = [Document(**row) for row in batch.to_pylist()]
    codes = None
    if parameters.language:
        texts, kinds = [document.text for document in documents], [document.kind for document in documents]
        codes = [each.code for each in language.identify(texts, kinds, parameters.language)]
        ledger.languages.update(codes)
    return sign(documents, [None] * len(documents), parameters, seed, codes)


def sign(
    documents: list[Document],
    findings: list[Finding | None],
    parameters: CurateParameters,
    seed: int,
    codes: list[str] | None,
    scores: Mapping[str, list[float | None]] | None = None,
    *,
    compiled: bool = False,
) -> pa.RecordBatch:
    """The rows of documents whose broken rules, and languages where they were asked for, are known."""
    texts = [document.text for document, finding in zip(documents, findings, strict=True) if finding is None]
    if codes is not None:
        texts = list(map(scripts.as_english, texts))
    signed = iter(signatures(texts, parameters.deduplication, seed, compiled=compiled))
    columns: dict[str, list[Any]] = {
        **{name: [getattr(document, name) for document in documents] for name in FIELDS},
        "id": [identifier(document.text) for document in documents],
        "characters": [len(document.text) for document in documents],
        "rule": [finding and finding[0] for finding in findings],
        "reason": [finding and finding[1] for finding in findings],
        "signature": [next(signed).astype("<u4").tobytes() if finding is None else None for finding in findings],
        **({} if codes is None else {"language": codes}),
    }
    for column in extra_columns(parameters):
        if column.name not in columns:
            columns[column.name] = scores[column.name] if scores else [None] * len(documents)
    return pa.RecordBatch.from_pydict(columns, schema=schema(parameters))
