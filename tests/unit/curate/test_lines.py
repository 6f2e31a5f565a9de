"""Lines that many documents share are removed, wherever they are, and nothing else is."""

from __future__ import annotations

import json

import pyarrow.parquet as pq
import pytest

from components.curate.deduplication import lines
from tests.unit.curate import workspace as small
from tests.unit.curate.workspace import curate

HEADER = "Licensed under the 2.0 terms, which you find at EXAMPLE.org!"
SAME = "licensed under the 1.0 terms which you find at example.org"  # but for case, punctuation and digits
LETTERS = str.maketrans("0123456789", "abcdefghij")
SOURCES = [{"type": "files", "paths": ["data/raw/texts/*.jsonl"]}]


def sentence(number):
    """Unlike all others also where digits are alike."""
    return small.sentence(number).translate(LETTERS)


def curated(workspace, texts, monkeypatch, **rules):
    folder = workspace / "data/raw/texts"
    folder.mkdir(parents=True)
    (folder / "a.jsonl").write_text("".join(json.dumps({"text": text}) + "\n" for text in texts))
    rules = {"lines": {"min_count": 10, **rules}}
    context = curate(workspace, SOURCES, monkeypatch, quality={"gopher": None, "c4": None}, deduplication=rules)
    found = [row for path in context.outputs["corpus"].iterdir() for row in pq.read_table(path).to_pylist()]
    report = json.loads((context.outputs["report"] / "report.json").read_text())
    return {row["text"] for row in found}, report


def test_what_many_share_is_removed_from_all_and_the_rest_stays_to_the_letter(tmp_path, monkeypatch):
    monkeypatch.setattr(lines, "PARTITION", 100)
    few = [f"{sentence(n)}\nA line that only nine of the documents share.\nParameters" for n in range(100, 109)]
    texts = [f"{HEADER if n % 2 else SAME}\n\n{sentence(n)}\nParameters" for n in range(30)]
    # A text that was copied as a whole is no boilerplate.
    found, report = curated(tmp_path, [*texts, *few, HEADER, *[sentence(99)] * 12], monkeypatch)
    assert found == {*(f"{sentence(n)}\nParameters" for n in range(30)), *few, sentence(99)}
    (change,) = (
        value for name, value in report["changes"].items() if name == "lines removed that many documents share"
    )
    assert change == 31
    dropped = {rule["rule"]: rule["dropped"] for rule in report["rules"]}
    assert dropped == {"repeated_lines": 1, "exact_duplicate": 11}


def test_paragraphs_are_removed_as_a_whole(tmp_path, monkeypatch):
    notice = "This page uses cookies.\nPlease accept them all."
    texts = [f"{sentence(n)}\n\n{notice}\n\nThe end of page {sentence(n)[:9]}: no cookies here." for n in range(20)]
    found, _ = curated(tmp_path, texts, monkeypatch, unit="paragraph", min_characters=30)
    assert found == {f"{sentence(n)}\n\nThe end of page {sentence(n)[:9]}: no cookies here." for n in range(20)}


@pytest.mark.parametrize("count", [19, 20])
def test_the_threshold_counts_documents_not_lines(tmp_path, monkeypatch, count):
    texts = [f"{sentence(n)}\n{HEADER}\n{HEADER}" for n in range(20)]
    found, _ = curated(tmp_path, texts, monkeypatch, min_count=count + 1)
    assert any(HEADER in text for text in found) == (count == 20)
