"""The data card as a page of tables and plots."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from components.pages.page import Page, read_report

Report = dict[str, Any]


def render(folder: Path) -> Page:
    """The page of the report in ``folder``."""
    report = read_report(folder)
    metrics = report["metrics"]
    page = Page(
        "Data card of the corpus",
        f"{metrics['documents_kept']:,} of {metrics['documents_read']:,} documents kept "
        f"({metrics['share_kept']:.0%}), {metrics['characters_kept'] / 1e6:.2f} million characters. "
        f"Python {report['python']}, corpus digest {report['corpus_digest'][:16]}.",
    )
    page.heading("Sources")
    page.table(
        ["source", "documents read", "characters read"],
        [[s["name"], s["documents"], s["characters"]] for s in report["sources"]],
    )
    for name, notes in report["notes"].items():
        page.text(f"{name}: " + "; ".join(f"{key.replace('_', ' ')} {_plain(value)}" for key, value in notes.items()))
    _splits(page, folder, report)
    _rules(page, folder, report)
    if report["changes"]:
        page.heading("Changed in documents that stay")
        page.table(["what", "times"], report["changes"].items())
    if report.get("skipped"):
        page.heading("Parts of files that hold no document")
        page.table(["what", "times"], report["skipped"].items())
    if report.get("encodings"):
        page.heading("Files that are not UTF-8")
        page.table(
            ["encoding", "files", "first"],
            [[name, each["files"], ", ".join(each["first"])] for name, each in report["encodings"].items()],
        )
    if report["broken_rows"]:
        page.heading("Rows that could not be used")
        page.table(["file", "rows", "broken"], [[b["file"], b["rows"], b["broken"]] for b in report["broken_rows"]])
        page.code("\n".join(line for b in report["broken_rows"] for line in b["examples"]))
    if report.get("decontamination"):
        _decontamination(page, report["decontamination"])
    page.heading("What each rule dropped")
    for rule in report["rules"]:
        if rule["examples"]:
            page.text(f"{rule['rule']}: {rule['dropped']:,} documents")
            page.code("\n\n".join(_example(example) for example in rule["examples"]))
    for name, title in (("instructions", "Instruction and preference data"), ("labels", "Labels for classification")):
        page.heading(title)
        _tables(page, report[name])
    return page


def _example(example: dict[str, str]) -> str:
    reason = f" ({example['reason']})" if example["reason"] else ""
    return f"[{example['origin']}]{reason}\n{example['text']}"


def _splits(page: Page, folder: Path, report: Report) -> None:
    clusters, splits = report["clusters"], report["splits"]
    page.heading("Splits")
    page.text(
        "Documents of one group and near-duplicates form a cluster; a cluster goes to one split as a whole, by its "
        f"content hash. {clusters['count']:,} clusters; the largest has {clusters['largest_documents']:,} documents, "
        f"{clusters['largest_share']:.1%} of the text ({', '.join(clusters['largest_groups'])}). "
        f"{clusters['outsized_in_train']} clusters too large for a held-out split went to train."
    )
    total = max(sum(counts["characters"] for counts in splits.values()), 1)
    page.table(
        ["split", "documents", "groups", "characters", "share", "questions added", "bytes", "digest"],
        [
            [split, c["documents"], c["groups"], c["characters"], f"{c['characters'] / total:.1%}",
             c["question_documents"], c["bytes"], c["digest"][:16]]
            for split, c in splits.items()
        ],
    )  # fmt: skip
    kinds = sorted({kind for counts in splits.values() for kind in counts["kinds"]})
    page.table(
        ["kind", *(f"{split} documents" for split in splits), "characters"],
        [
            [kind, *(c["kinds"].get(kind, 0) for c in splits.values()),
             sum(c["kind_characters"].get(kind, 0) for c in splits.values())]
            for kind in kinds
        ],
    )  # fmt: skip
    licenses = sorted({name for counts in splits.values() for name in counts["licenses"]})
    page.table(["licence", "documents"], [[n, sum(c["licenses"].get(n, 0) for c in splits.values())] for n in licenses])
    page.figure(folder / "lengths.png", "Documents by length")


def _rules(page: Page, folder: Path, report: Report) -> None:
    page.heading("Counts in and out of each rule")
    if quality := report.get("quality"):
        own = ", ".join(f"{name} {json.dumps(value)}" for name, value in quality["own_values"].items())
        profile = f"those of the profile {quality['profile']}" if quality["profile"] else "of no profile"
        page.text(f"The values of the quality rules are {profile}{f'; but: {own}' if own else ''}.")
    page.table(
        ["rule", "in", "dropped", "out", "characters dropped"],
        [[r["rule"], r["in"], r["dropped"], r["out"], r["dropped_characters"]] for r in report["rules"]],
    )
    if report["rules"]:
        page.figure(folder / "dropped.png", "Documents dropped by rule")


def _decontamination(page: Page, found: Report) -> None:
    page.heading("Training texts that hold what models are measured on")
    action = {"remove": "They were removed.", "report": "They were left.", "refuse": ""}[found["action"]]
    page.text(
        f"{found['documents']:,} training texts overlap with items of evaluation sets. {action} contamination.jsonl "
        "lists each with the passage. Seen: items most of whose word runs stand somewhere in the training set."
    )
    page.table(
        ["training set", "evaluation set", "items", "that overlap", "seen", "training texts"],
        [
            [p["training"], p["evaluation"], p["items"], p["overlapping"], p["seen"], p["documents"]]
            for p in found["pairs"]
        ],
    )
    for each in found["apart"]:
        page.text(f"Not compared: {each['training']} with {each['evaluation']} ({each['why']}).")
    if found["examples"]:
        page.code(
            "\n\n".join(
                f"[{e['training']}: {e['document']}] {e['evaluation']}: {e['item']} ({e['rule']})\n{e['passage']}"
                for e in found["examples"]
            )
        )


def _tables(page: Page, report: Report) -> None:
    """Plain values in one table; each mapping of mappings (by split, by topic) in one of its own, a column for each."""
    wide = {
        key: value
        for key, value in report.items()
        if isinstance(value, dict) and value and all(isinstance(part, dict) for part in value.values())
    }
    page.table(["", ""], [leaf for key, value in report.items() if key not in wide for leaf in _flat(value, key)])
    for key, parts in wide.items():
        columns = {name: dict(_flat(part)) for name, part in parts.items()}
        rows = list(dict.fromkeys(path for leaves in columns.values() for path in leaves))
        page.table([key, *columns], [[row, *(leaves.get(row) for leaves in columns.values())] for row in rows])


def _flat(tree: Any, path: str = "") -> list[tuple[str, Any]]:
    """Leaves of nested mappings with their paths; lists as text."""
    if isinstance(tree, dict):
        return [leaf for key, value in tree.items() for leaf in _flat(value, f"{path}: {key}" if path else str(key))]
    return [(path, _plain(tree))]


def _plain(value: Any) -> Any:
    if isinstance(value, list | tuple):
        return ", ".join(map(str, value)) or "none"
    return "none" if value is None else value
