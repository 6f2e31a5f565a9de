"""Passages that stand in earlier text are cut out of later documents, and the report says so."""

from __future__ import annotations

import json

import pyarrow.parquet as pq
import pytest

from components.curate.deduplication.substrings import _joined, _of_whole_words
from components.curate.parameters import CurateParameters
from tests.unit.curate.workspace import curate, sentence

SOURCES = [{"type": "files", "paths": ["data/raw/texts/*.jsonl"]}]
RULES = {"quality": {"profile": None}, "examples": 5}
PASSAGE = f"It begins here. {sentence(900)} {sentence(901)} And here it ends."


def write(workspace, name, texts):
    folder = workspace / "data/raw/texts"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).write_text("".join(json.dumps({"text": text}) + "\n" for text in texts))


def corpus(context):
    return {row["text"]: row for path in context.outputs["corpus"].iterdir() for row in pq.read_table(path).to_pylist()}


def report(context):
    return json.loads((context.outputs["report"] / "report.json").read_text())


def test_the_first_occurrence_stays_and_what_is_counted_is_shown(tmp_path, monkeypatch):
    others = [sentence(number) for number in range(60)]
    whole = f"{sentence(100)}\n\n{PASSAGE}\n\n{sentence(101)}"
    write(tmp_path, "a.jsonl", [*others, whole])
    cut = [f"{sentence(number)}\n{number} {PASSAGE} Now{number} {sentence(number + 100)}" for number in (201, 202)]
    write(tmp_path, "b.jsonl", [*cut, f"Little is before. {PASSAGE}", f"{PASSAGE} {PASSAGE} {PASSAGE}", whole])
    rules = RULES | {"deduplication": {"substrings": {"min_characters": 200}, "threshold": 1.0}}
    context = curate(tmp_path, SOURCES, monkeypatch, **rules)
    found, card = corpus(context), report(context)
    left = {f"{sentence(number)}\n{number}\n\nNow{number} {sentence(number + 100)}" for number in (201, 202)}
    assert set(found) == {*others, whole, *left}
    for name, row in found.items():
        assert row["id"] and row["origin"].startswith("data/raw/texts/"), name
    rules = {each["rule"]: each for each in card["rules"]}
    assert rules["repeated_passages"]["dropped"] == 2 and rules["exact_duplicate"]["dropped"] == 1
    assert "characters stand in earlier text" in rules["repeated_passages"]["examples"][0]["reason"]
    assert card["changes"]["passages removed that stand in earlier text"] == 2
    notes = card["notes"]["deduplication.substrings"]
    assert notes["documents cut"] == notes["documents dropped"] == 2 and notes["characters removed"] > 5 * len(PASSAGE)
    shown = json.loads((context.outputs["report"] / "samples.json").read_text())["changes"]
    (one, _) = shown["passages removed that stand in earlier text"]
    assert PASSAGE[:100] in one["before"] and PASSAGE[:100] not in one["after"]


def test_an_earlier_corpus_is_earlier_text_and_a_test_split_that_stays_is_not_cut(tmp_path, monkeypatch):
    write(
        tmp_path,
        "a.jsonl",
        [f"{sentence(number)}\n\n{PASSAGE}" if number < 2 else sentence(number) for number in range(80)],
    )
    first = curate(tmp_path, SOURCES, monkeypatch, **RULES, split={"validation": 0.1, "test": 0.4})
    for split in ("train", "test"):
        (file,) = first.outputs["corpus"].glob(f"{split}-*.parquet")
        (tmp_path / f"data/raw/{split}.parquet").write_bytes(file.read_bytes())
    before = {text: row for text, row in corpus(first).items() if PASSAGE in text}
    assert len(before) == 2
    new = [f"{sentence(number)}\n\n{sentence(number + 1)} {PASSAGE}" for number in range(300, 304)]
    write(tmp_path, "a.jsonl", [*new, *(sentence(number) for number in range(310, 350))])
    context = curate(
        tmp_path, SOURCES, monkeypatch, **RULES, split={"validation": 0.1, "held_out": ["data/raw/test.parquet"]},
        deduplication={"against": ["data/raw/train.parquet"], "substrings": {}, "split_threshold": 0.8},
    )  # fmt: skip
    (held_out,) = context.outputs["corpus"].glob("test-*.parquet")
    assert held_out.read_bytes() == (tmp_path / "data/raw/test.parquet").read_bytes()
    with_it = {text for text in corpus(context) if PASSAGE in text}
    assert with_it == {text for text in before if text in pq.read_table(held_out)["text"].to_pylist()}
    assert report(context)["notes"]["deduplication.substrings"]["documents cut"] == 4


def test_what_is_left_of_two_documents_is_one_document(tmp_path, monkeypatch):
    other = f"{sentence(902)} {sentence(903)}"
    begin, end = sentence(500)[4:150].strip(), sentence(501)[4:150].strip()
    write(tmp_path, "a.jsonl", [sentence(n) for n in range(40)] + [f"{begin}. {PASSAGE}", f"{other} {sentence(502)}"])
    write(tmp_path, "b.jsonl", [f"{PASSAGE}\n\n{begin}!\n{other}\n\n{end}", f"{other}\n\n{begin}!\n{PASSAGE}\n\n{end}"])
    rules = RULES | {"deduplication": {"substrings": {}, "threshold": 1.0}}
    context = curate(tmp_path, SOURCES, monkeypatch, **rules)
    assert f"{begin}!\n\n{end}" in corpus(context)
    (rule,) = report(context)["rules"]
    assert rule["rule"] == "exact_duplicate" and rule["dropped"] == 1


def test_a_word_stays_whole():
    text = "prefixed words and more of them suffix"
    begin, end = text.index("fixed"), text.index("fix", 20)
    assert text[slice(*_of_whole_words(text, begin, end))] == " words and more of them "
    assert _of_whole_words(text, begin, begin + 4) is None
    begin, end = (text := "It ends. As others do (so).").index("."), text.index("so") + 1
    assert text[slice(*_of_whole_words(text, begin, end))] == " As others do "
    assert _of_whole_words("x" * 200, 50, 100) == (50, 100)


def test_stretches_that_meet_are_one_passage():
    import numpy as np

    assert _joined(np.array([3, 4, 14, 25, 40]), 10) == [(3, 24), (25, 35), (40, 50)]


@pytest.mark.parametrize("wrong", [{"min_characters": 10}, {"min_length": 200}])
def test_wrong_parameters_are_refused(wrong):
    with pytest.raises(ValueError, match="substrings"):
        CurateParameters.model_validate({"deduplication": {"substrings": wrong}})
