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
    page.heading("Bytes and words per token").text(
        "Separators are not counted. One byte a token is what a vocabulary without merges would give. Words are what "
        "stands between white space; languages without spaces have none."
    )
    for by in dict.fromkeys(row["by"] for row in report["parts"]):
        page.table(
            ["split", by, "documents", "tokens", "bytes per token", "tokens per word"],
            [
                [row[name] for name in ("split", "value", "documents", "tokens", "bytes_per_token", "tokens_per_word")]
                for row in report["parts"]
                if row["by"] == by
            ],
        )
    if mixture := report.get("mixture"):
        page.heading("Mixture").text(
            f"Training documents by {mixture['by']}, and how often they were taken. {mixture['tokens']:,} tokens were "
            "drawn, separators included."
        )
        page.table(
            [mixture["by"], "documents", "tokens", "epochs", "documents drawn", "tokens drawn", "share"],
            [
                [p["part"], p["documents"], p["tokens"], f"{p['epochs']:.2f}", p["documents_drawn"], p["tokens_drawn"],
                 f"{p['share']:.1%}"]
                for p in mixture["parts"]
            ],
        )  # fmt: skip
    packing = report["packing"]
    page.heading("Packing")
    if packing["packing"] == "best_fit":
        page.text(
            f"Best fit: {packing['sequences']:,} training sequences of {packing['seq_length']:,} tokens. "
            f"{packing['documents_divided']:.2%} of the documents are longer and divided; "
            f"{packing['padding']:.2%} of the tokens are padding. Concatenated, so many documents would be cut:"
        )
    else:
        page.text(
            "Documents are concatenated and cut into sequences, so many of them within, by the sequences' length:"
        )
    page.table(
        ["tokens of a sequence", "documents cut"],
        [[row["seq_length"], f"{row['documents']:.1%}"] for row in packing["cut_by_concatenation"]],
    )
    page.heading("Lengths")
    if lengths := report["document_lengths"]:
        page.bars({str(row["tokens"]): row["documents"] for row in lengths}, "training documents by their tokens")
    sizes = {str(row["bytes"]): row["entries"] for row in report["token_sizes"]}
    page.bars(sizes, "vocabulary entries by their bytes")
    page.heading("A sentence, cut").code(" | ".join(report["example"]))
    page.heading("Longest entries").code(" | ".join(report["longest_tokens"]))
    return page.heading("Special tokens").table(["token", "id"], report["special_tokens"].items())
