"""The order of curation: every document is cleaned, redacted, judged, and compared with all before it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from components.curate.cleaning import clean
from components.curate.deduplication import Deduplicator
from components.curate.documents import Document
from components.curate.ledger import Ledger
from components.curate.parameters import CurateParameters
from components.curate.quality import c4_lines, judge
from components.curate.redaction import PLACEHOLDERS, redact
from components.curate.sources import module_of
from core.errors import InputProblem


def conceal(text: str) -> str:
    """Redact everything, for excerpts that are shown whatever the parameters keep."""
    return redact(text, PLACEHOLDERS)[0]


def read_sources(
    parameters: CurateParameters, workspace: Path, ledger: Ledger, advance: Callable[..., None]
) -> Iterator[Document]:
    """All documents of all sources, in the order of the parameters, counted as read."""
    for source in parameters.sources:
        stream = module_of(source).read(source, workspace, ledger, advance)
        for document in islice(stream, source.max_documents):
            ledger.take(document)
            yield document


def broken_problems(ledger: Ledger, max_broken_share: float) -> list[str]:
    """Files with more unreadable rows than tolerated, each with its first broken rows."""
    tallies = [ledger.files[name] for name in sorted(ledger.files)]
    found = [tally.problem(max_broken_share, "curate.max_broken_share") for tally in tallies]
    return [problem for problem in found if problem is not None]


def prepare(documents: Iterable[Document], parameters: CurateParameters, ledger: Ledger) -> Iterator[Document]:
    """Clean, redact and judge: the documents that are worth comparing with others."""
    for document in documents:
        text = clean(document.text, parameters.unicode_form)
        if "\ufffd" in text:
            ledger.change("documents with a replacement character")
        text, redactions = redact(text, parameters.redact)
        for name, count in redactions.items():
            ledger.change(f"redacted {name}", count)
        if redactions:
            ledger.change("documents with a redaction")
        if parameters.quality.c4:
            text, removed = c4_lines(text, parameters.quality.c4)
            ledger.change("lines removed by C4's rules", removed)
        document = document.with_text(text)
        if not text.strip():
            ledger.drop("empty", document)
            continue
        finding = judge(text, parameters.quality)
        if finding:
            rule, reason = finding
            ledger.drop(rule, document, reason)
            continue
        yield document


@dataclass
class Kept:
    """What deduplication leaves; texts are with the caller, by number.

    Attributes:
        deduplicator: the index, with the links between similar kept documents.
        held: numbers of kept documents that a task holds out, or that repeat the text of such a document.
        frozen: numbers of the documents of ``split.held_out``.
    """

    deduplicator: Deduplicator
    held: set[int]
    frozen: set[int]


def deduplicate(
    frozen: Iterable[Document],
    documents: Iterable[Document],
    parameters: CurateParameters,
    seed: int,
    held_out: set[tuple[str, str]],
    ledger: Ledger,
    keep: Callable[[Document], None],
) -> Kept:
    """Pass each new document to ``keep``, the ``frozen`` ones first; drop repeats.

    A document that repeats one of ``held_out`` (kind and origin) is held out with it, whichever came first: the text
    itself must not be learnt.
    """
    kept = Kept(Deduplicator(parameters.deduplication, seed), set(), set())
    origins: list[str] = []
    for document in frozen:
        verdict = kept.deduplicator.add(document.text)
        if verdict.rule is None:
            kept.frozen.add(verdict.of)
            origins.append(document.origin)
            keep(document)
        else:
            ledger.drop(verdict.rule, document, f"repeats {origins[verdict.of]}, held out like it")
    for document in documents:
        verdict = kept.deduplicator.add(document.text)
        if (document.kind, document.origin) in held_out and verdict.of not in kept.frozen:
            kept.held.add(verdict.of)
        if verdict.rule is None:
            origins.append(document.origin)
            keep(document)
        else:
            likeness = "" if verdict.rule == "exact_duplicate" else f" (similarity {verdict.similarity:.2f})"
            ledger.drop(verdict.rule, document, f"repeats {origins[verdict.of]}{likeness}")
    return kept


def require_text(kept: int, ledger: Ledger) -> None:
    """Raise InputProblem, with what happened to the documents, when none is left."""
    if kept:
        return
    read = sum(ledger.read.values())
    if not read:
        raise InputProblem("curate.sources: no document was found in any source: check paths and text_column")
    worst = ", ".join(f"{rule} dropped {count}" for rule, count in _commonest(ledger.dropped))
    raise InputProblem(
        f"curate: all {read} documents were dropped ({worst}), the corpus is empty: loosen these rules in "
        "curate.quality, or add text"
    )


def _commonest(counts: Counter[str]) -> Sequence[tuple[str, int]]:
    return sorted(counts.items(), key=lambda item: (-item[1], item[0]))[:5]
