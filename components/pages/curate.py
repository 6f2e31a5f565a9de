"""The data card as a page of tables and plots."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from components.corpora.changes import ADDED, REMOVED, Part, changes
from components.pages.page import Page, ShownDocument, read_report

Report = dict[str, Any]
_PLACEHOLDER = re.compile(r"(\[(?:EMAIL|PHONE|IP|CARD|IBAN|KEY)(?:_[0-9a-f]+)?\])")
_WHOLE = 10_000  # characters; excerpts are shorter


def render(folder: Path) -> Page:
    """The page of the report in ``folder``."""
    report, samples = read_report(folder), _samples(folder)
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
    _splits(page, report)
    _documents(page, samples)
    _rules(page, report)
    if report.get("perplexity"):
        _perplexity(page, report["perplexity"])
    _classifiers(page, report.get("classifiers") or [])
    _pairs(page, samples)
    if report.get("languages"):
        page.heading("Languages")
        page.table(["language", "documents read", "kept"], [list(each.values()) for each in report["languages"]])
    if report["changes"]:
        page.heading("Changed in documents")
        page.table(["what", "times"], report["changes"].items())
        _changed(page, samples)
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
    for name, title in (("instructions", "Instruction and preference data"), ("labels", "Labels for classification")):
        page.heading(title)
        _tables(page, report[name])
    return page


def _samples(folder: Path) -> Report:
    """``samples.json``; empty beside a report of a version that wrote none."""
    path = folder / "samples.json"
    found: Report = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    return found


def _documents(page: Page, samples: Report) -> None:
    found = [
        ShownDocument(
            row["origin"],
            [(row["text"], "")],
            ", ".join(
                [row["source"], row["kind"], row["license"], f"{row['characters']:,} characters"]
                + [f"{name} {score:.3f}" for name, score in row.get("scores", {}).items()]
            ),
            {"split": split} | {name: str(row[name]) for name in ("source", "kind", "language") if name in row},
        )
        for split, rows in samples.get("splits", {}).items()
        for row in rows
    ]
    if not found:
        return
    bounds = samples["bounds"]
    page.heading("Documents")
    page.text(
        f"A sample: the {bounds['documents']} documents of each split with the smallest content hashes, and some of "
        f"the questions added, {bounds['characters']:,} characters of each, personal data redacted. `stemma data "
        "sample` and `stemma data search` read the whole corpus."
    )
    page.documents("documents", found)


def _pairs(page: Page, samples: Report) -> None:
    found = []
    for pair in samples.get("near_duplicates", []):
        parts = changes(pair["of_text"], pair["text"], around=_WHOLE, longest=_WHOLE)
        left, right = ([(text, sign and "!") for text, sign in parts if sign != other] for other in (REMOVED, ADDED))
        beside = ShownDocument(f"stays: {pair['of']}", right)
        found.append(ShownDocument(f"dropped: {pair['origin']}", left, pair["reason"], {}, beside))
    if found:
        page.heading("Near-duplicates and what they repeat")
        page.documents("near-duplicates", found)


def _changed(page: Page, samples: Report) -> None:
    found = [
        ShownDocument(example["origin"], _marked(what, example), what, {"change": what})
        for what, examples in samples.get("changes", {}).items()
        for example in examples
    ]
    if found:
        page.text("Redacted text is not shown; what was removed is struck out.")
        page.documents("changes", found)


def _marked(what: str, example: dict[str, str]) -> list[Part]:
    if not example["before"]:
        return [
            (text, "!" if place % 2 else "") for place, text in enumerate(_PLACEHOLDER.split(example["after"])) if text
        ]
    return changes(example["before"], example["after"], around=_WHOLE, longest=_WHOLE)


def _splits(page: Page, report: Report) -> None:
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
    _by_source(page, splits)
    for key, title in (
        ("lengths", "documents by their characters, from"), ("languages", "documents by language"),
    ):  # fmt: skip
        names = dict.fromkeys(name for c in splits.values() for name in c.get(key, {}))
        if names:
            page.bars({name: sum(c[key].get(name, 0) for c in splits.values()) for name in names}, title)


def _by_source(page: Page, splits: Report) -> None:
    names = sorted({name for c in splits.values() for name in c.get("source_characters", {})})
    total = sum(sum(c.get("source_characters", {}).values()) for c in splits.values()) or 1
    rows = [[name, *(c["source_characters"].get(name, 0) for c in splits.values())] for name in names]
    page.table(
        ["source", *(f"{split} characters" for split in splits), "share"],
        [[*row, f"{sum(row[1:]) / total:.1%}"] for row in sorted(rows, key=lambda row: -sum(row[1:]))],
    )


def _rules(page: Page, report: Report) -> None:
    page.heading("Counts in and out of each rule")
    if quality := report.get("quality"):
        own = ", ".join(f"{name} {json.dumps(value)}" for name, value in quality["own_values"].items())
        profile = f"those of the profile {quality['profile']}" if quality["profile"] else "of no profile"
        page.text(f"The values of the quality rules are {profile}{f'; but: {own}' if own else ''}.")
    page.table(
        ["rule", "in", "dropped", "out", "characters dropped"],
        [[r["rule"], r["in"], r["dropped"], r["out"], r["dropped_characters"]] for r in report["rules"]],
    )
    found = [
        ShownDocument(example["origin"], [(example["text"], "")], example["reason"], {"rule": rule["rule"]})
        for rule in report["rules"]
        for example in rule["examples"]
    ]
    if found:
        page.text("Some of what each rule dropped: those with the smallest hashes, the beginning of each.")
        page.documents("what was dropped", found)


def _perplexity(page: Page, found: Report) -> None:
    page.heading("Buckets by perplexity")
    for each in found["models"]:
        low, high = each["cutoffs"]
        what = "Bits" if each["language"] is None else f"Language {each['language']}: bits"
        page.text(f"{what} per byte by the model {each['file']}: head under {low:.3f}, tail from {high:.3f}.")
    page.text(f"{' and '.join(found['keep'])} stay; {found['dropped']:,} documents go.")
    if found["unjudged"]:
        page.text(f"{found['unjudged']:,} documents in languages without a model were not judged, and stay.")
    page.table(["bucket", "documents"], found["buckets"].items())
    bins = {f"{place * found['bin_width']:.2f}": count for place, count in enumerate(found["histogram"])}
    page.bars(bins, "documents by bits per byte (from)")


def _classifiers(page: Page, found: list[Report]) -> None:
    for each in found:
        page.heading(f"Scores by the classifier {each['name']}")
        what = {"below": "under it goes", "above": "with it or more goes", "none": "none goes"}[each["drop"]]
        text = (
            f"{each['scored']:,} documents; threshold {each['threshold']:.3f}, {what}: {each['dropped']:,} documents."
        )
        if known := each["metrics"]:
            text += (
                f" When it was trained: precision {known['precision']:.3f} and recall {known['recall']:.3f} at its own "
                f"threshold, on {known['n']:,} texts of which {known['share_of_good']:.3f} are good."
            )
        page.text(text)
        bins = each["histogram"]
        page.bars({f"{place / len(bins):.2f}": count for place, count in enumerate(bins)}, "documents by score (from)")


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
