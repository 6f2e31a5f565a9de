"""The stage as a whole: counts that add up, a split that holds, bytes that repeat, and a report that can be read."""

import hashlib
import json
import subprocess
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from components import pages
from components.contract import Interrupted
from components.curate import component
from components.curate.files.parts import SourcePart
from components.curate.stage import run
from components.curate.supervised import instructions
from components.tasks.contract import TaskData
from core.errors import InputProblem
from tests.stage import run_component
from tests.unit.curate.test_curate_files import all_rows, corpus, put, report
from tests.unit.curate.workspace import curate, sentence

DIRTY = [
    *({"text": sentence(n)} for n in range(60)),
    *({"text": sentence(n)} for n in range(5)),  # exact duplicates
    *({"text": sentence(n).replace("chapter", "chapters")} for n in range(10, 14)),  # near duplicates
    {"text": "too short"},
    {"text": ""},
    {"text": "Write to jane@example.org or call +49 30 1234 5678 about the matter of the day."},
    {"text": "The cafe\u0301 of the village\u200b has a   terrace and a garden.\r\nIt opens at nine."},
]


@pytest.fixture
def source(tmp_path) -> dict:
    return {"type": "files", "paths": [put(tmp_path, "rows.jsonl", "".join(json.dumps(r) + "\n" for r in DIRTY))]}


def test_every_document_is_accounted_for(tmp_path, monkeypatch, source):
    context = curate(tmp_path, [source], monkeypatch)
    card, rows = report(context), all_rows(context)
    dropped = {rule["rule"]: rule["dropped"] for rule in card["rules"]}
    assert dropped == {"empty": 1, "gopher_min_words": 1, "exact_duplicate": 5, "near_duplicate": 4}
    assert card["metrics"]["documents_read"] == len(DIRTY)
    assert len(rows) == len(DIRTY) - sum(dropped.values()) == card["metrics"]["documents_kept"]
    assert [rule["in"] for rule in card["rules"][1:]] == [rule["out"] for rule in card["rules"][:-1]]
    assert card["rules"][-1]["out"] == len(rows)
    assert card["changes"]["redacted email"] == card["changes"]["redacted phone"] == 1
    texts = {row["text"] for row in rows}
    assert "Write to [EMAIL] or call [PHONE] about the matter of the day." in texts
    assert "The café of the village has a   terrace and a garden.\nIt opens at nine." in texts
    assert all(row["id"] == hashlib.sha256(row["text"].encode()).hexdigest()[:32] for row in rows)
    (headline,) = [metric for metric in context.metrics if metric.name == context.headline]
    assert (headline.value, headline.n) == (len(rows), len(DIRTY))


def test_the_card_shows_documents_changes_and_what_duplicates_repeat(tmp_path, monkeypatch, source):
    pad = "The garden of the house is large and green. " * 30
    policy = {"text": f"The law of the sea.\nSee our privacy policy of the year.\nIt holds. {sentence(99)}"}
    late = {"text": f"{pad}Write to jane@example.org about it."}
    put(tmp_path, "rows.jsonl", "".join(json.dumps(row) + "\n" for row in [*DIRTY, policy, late]))
    context = curate(tmp_path, [source], monkeypatch, quality={"fineweb": None, "gopher": None})
    samples = json.loads((context.outputs["report"] / "samples.json").read_text())
    everything = json.dumps(samples)
    assert "jane" not in everything and "1234" not in everything
    assert {split: bool(rows) for split, rows in samples["splits"].items()} == dict.fromkeys(samples["splits"], True)
    assert all(len(row["text"]) <= 1000 for rows in samples["splits"].values() for row in rows)
    redacted = samples["changes"]["redacted"]
    assert {each["before"] for each in redacted} == {""}
    assert any(each["after"].startswith("[...] ") and "Write to [EMAIL]" in each["after"] for each in redacted)
    [line] = samples["changes"]["lines removed by C4's rules"]
    assert "privacy policy" in line["before"] and "privacy policy" not in line["after"]
    assert len(samples["near_duplicates"]) == 4
    assert all(p["of_text"] == p["text"].replace("chapters", "chapter") for p in samples["near_duplicates"])
    page = pages.render(tmp_path, "curate").read_text()
    assert "<del>See our privacy policy" in page.replace("\n", "") and "<mark>[EMAIL]</mark>" in page
    assert "<mark>chapters</mark>" in page


def test_the_salt_of_hashed_placeholders_is_the_homes_and_private(tmp_path, monkeypatch, source):
    monkeypatch.setenv("STEMMA_HOME", str(tmp_path / "home"))
    (tmp_path / "dvc.yaml").write_text("stages: {}\n")
    subprocess.run(["git", "init", "-q", str(tmp_path)], check=True)

    def hashed():
        context = curate(tmp_path, [source], monkeypatch, placeholder="hashed")
        [text] = [row["text"] for row in all_rows(context) if row["text"].startswith("Write to [EMAIL_")]
        return text, report(context)["notes"]["placeholders"]["salt"]

    first, path = hashed(), tmp_path / "home" / "keys" / "placeholders.salt"
    assert hashed() == first and path.stat().st_mode & 0o077 == 0
    salt = path.read_bytes()
    assert len(salt) == 32 and salt.hex() not in json.dumps(first)
    path.unlink()
    assert not set(hashed()) & set(first)
    path.write_bytes(salt[:7])
    with pytest.raises(InputProblem, match="has 7 bytes, not 32: bring it back from a back-up"):
        hashed()


def test_the_same_inputs_give_the_same_bytes(tmp_path, monkeypatch, source):
    def digests(workspace):
        put(workspace, "rows.jsonl", "".join(json.dumps(row) + "\n" for row in DIRTY))
        context = curate(workspace, [source], monkeypatch)
        return {
            f"{name}/{path.name}": hashlib.sha256(path.read_bytes()).hexdigest()
            for name, folder in context.outputs.items()
            for path in sorted(folder.rglob("*"))
        }

    first, second = digests(tmp_path / "one"), digests(tmp_path / "two")
    assert first == second
    assert {"report/report.json", "report/samples.json", "corpus/train-00000-of-00001.parquet"} <= set(first)


def test_large_corpora_are_cut_into_shards(tmp_path, monkeypatch):
    lines = [json.dumps({"text": f"{sentence(n)} {'padding of the document ' * 20}{n}"}) for n in range(4000)]
    name = put(tmp_path, "rows.jsonl", "\n".join(lines))
    loose = {"gopher": None, "fineweb": None}
    context = curate(
        tmp_path, [{"type": "files", "paths": [name]}], monkeypatch, shard_megabytes=1, quality=loose,
        deduplication={"threshold": 1.0, "split_threshold": 1.0},
    )  # fmt: skip
    names = sorted(path.name for path in context.outputs["corpus"].glob("train-*"))
    assert len(names) >= 3
    assert names == [f"train-{i:05d}-of-{len(names):05d}.parquet" for i in range(len(names))]
    assert report(context)["splits"]["train"]["shards"] == names
    assert not list(context.scratch.rglob("*.parquet"))


def test_held_out_by_tasks_and_repeats_of_their_text_stay_out_and_questions_go_to_train(tmp_path, monkeypatch, source):
    held, near = sentence(7), sentence(7).replace("chapter", "chapters")
    question = {"text": "Q?", "source": "signatures", "kind": "question", "group": "m", "license": "PSF-2.0",
                "origin": "m.f"}  # fmt: skip

    def build(*_):
        return TaskData({}, [question] * 3, {("docstring", "m.held")}, {})

    def read(source, part, workspace, ledger):
        from components.curate.documents import Document

        for number in range(40):
            yield Document(sentence(number), "python_docs", "docstring", f"m{number}", "PSF-2.0", f"m{number}.f")
        for text in (near, held):
            yield Document(text, "python_docs", "docstring", "m", "PSF-2.0", "m.held")

    monkeypatch.setattr(instructions, "build", build)
    monkeypatch.setattr("components.curate.sources.python_docs.size", lambda *_: 0)
    monkeypatch.setattr("components.curate.sources.python_docs.parts", lambda *_: [SourcePart("m", 0, known=False)])
    monkeypatch.setattr("components.curate.sources.python_docs.read", read)
    context = curate(tmp_path, [{"type": "python_docs"}], monkeypatch)
    splits = corpus(context)
    assert not {held, near} & {row["text"] for row in all_rows(context)}
    dropped = {rule["rule"]: rule["dropped"] for rule in report(context)["rules"]}
    assert dropped == {"exact_duplicate": 1, "near_duplicate": 1, "held_out_by_task": 1}
    assert [row["kind"] for row in splits["train"]].count("question") == 3
    assert "question" not in {row["kind"] for row in splits["validation"] + splits["test"]}


def test_problems_of_sources_instructions_and_labels_are_reported_together(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "data/raw").mkdir(parents=True)
    from tests.stage import run_component

    with pytest.raises(InputProblem) as caught:
        run_component(component, tmp_path, {
            "sources": [{"type": "files", "paths": ["data/raw/a.txt"]}],
            "instructions": {"source": "files", "files": {"instruct": ["data/raw/b.jsonl"]}},
            "labels": {"source": "files", "files": ["data/raw/c.csv"]},
        })  # fmt: skip
    problems = "\n".join(caught.value.problems)
    assert all(name in problems for name in ("a.txt", "b.jsonl", "c.csv"))


def test_a_stage_that_shall_stop_stops(tmp_path, monkeypatch, source):
    context = curate(tmp_path, [source], monkeypatch)
    context.stopping = True
    with pytest.raises(Interrupted):
        run(context)


def test_the_corpus_has_the_columns_that_the_next_stages_read(tmp_path, monkeypatch, source):
    context = curate(tmp_path, [source], monkeypatch)
    for path in context.outputs["corpus"].glob("*.parquet"):
        assert pq.read_schema(path).names == ["id", "text", "source", "kind", "group", "license", "origin"]
    page = pages.curate.render(context.outputs["report"]).html()
    assert "near_duplicate" in page and "jane@example.org" not in page


def test_public_chats_alone_are_curated_and_their_page_is_drawn(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "data/raw").mkdir(parents=True)
    for path in (Path(__file__).parent / "chats").glob("*.json"):
        rows = json.loads(path.read_text(encoding="utf-8"))
        text = json.dumps([{**row, "note": "a remark of some words"} for row in rows])
        (tmp_path / "data/raw" / path.name).write_text(text)
    more = [{"prompt": f"Which chapter has number {n}?", "completion": f"chapter {n}"} for n in range(200)]
    (tmp_path / "data/raw/more.json").write_text(json.dumps(more))
    chats = [f"data/raw/{name}.json" for name in ("alpaca", "sharegpt_tools")]
    pairs = [f"data/raw/{name}.json" for name in ("dpo", "kto")]
    context = run_component(
        component,
        tmp_path,
        {
            "sources": [],
            "labels": {"source": "none"},
            "instructions": {
                "source": "files",
                "files": {"instruct": ["data/raw/more.json", *chats], "reward": pairs[:1], "preference": pairs},
            },
        },
    )
    lines = (context.outputs["instructions"] / "preference.jsonl").read_text(encoding="utf-8").splitlines()
    records = [json.loads(line) for line in lines]
    assert [r["kind"] for r in records] == ["pair"] * 3 + ["kto"] * 5
    assert all(r["chosen"] != r["rejected"] for r in records[:3])
    assert {r["label"] for r in records[3:]} == {True, False}
    [warning] = [each for each in context.warnings if "not used" in each]
    assert "alpaca.json, data/raw/sharegpt_tools.json, data/raw/dpo" in warning and "'note'" in warning
    page = pages.curate.render(context.outputs["report"]).html()
    assert "unused_columns" in page and "note" in page
