"""The page of tokenize: what the vocabulary is like and how well it compresses each part of the corpus."""

from __future__ import annotations

from pathlib import Path

from components.pages.page import Page, read_report


def render(folder: Path) -> Page:
    """The page of the report in ``folder``."""
    report = read_report(folder)
    page = Page(
        "Tokenizer and token shards",
        f"{report['vocabulary']:,} vocabulary entries, "
        f"{'trained on this corpus' if report['trained'] else 'loaded as it was'}.",
    )
    page.heading("Splits").table(
        ["split", "documents", "bytes", "tokens with separators", "shards"],
        [[name, s["documents"], s["bytes"], s["tokens"], len(s["shards"])] for name, s in report["splits"].items()],
    )
    page.heading("Bytes per token by kind of document").text(
        "Separators are not counted. One byte a token is what a vocabulary without merges would give."
    )
    page.table(
        ["split", "kind", "documents", "bytes per token"],
        [[row["split"], row["kind"], row["documents"], row["bytes_per_token"]] for row in report["kinds"]],
    )
    page.heading("Lengths")
    if report["kinds"]:
        page.figure(folder / "document_lengths.png", "tokens of a training document")
    page.figure(folder / "token_sizes.png", "bytes of a vocabulary entry")
    page.heading("A sentence, cut").code(" | ".join(report["example"]))
    page.heading("Longest entries").code(" | ".join(report["longest_tokens"]))
    return page.heading("Special tokens").table(["token", "id"], report["special_tokens"].items())
