"""The user's own instruction files: four forms, splits by prompt, every problem at once."""

from __future__ import annotations

import csv
import json
import tempfile
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from components.curate.instructions.files import read_splits
from components.curate.instructions.forms import convert, detect
from components.curate.instructions.parameters import InstructionsParameters
from components.curate.instructions.rows import Row, Table, read
from components.curate.instructions.write import build
from components.tasks.contract import SPLITS
from core.errors import InputProblem

PAIR = {"prompt": "p", "chosen": "good", "rejected": "bad"}
CHAT = {"messages": [{"role": "system", "content": "be short"}, {"role": "user", "content": "hi"},
                     {"role": "assistant", "content": "hello"}, {"role": "user", "content": "bye"},
                     {"role": "assistant", "content": "see you"}]}  # fmt: skip


@pytest.fixture
def workspace(tmp_path):
    (tmp_path / "data" / "raw").mkdir(parents=True)
    return tmp_path


def jsonl(path: Path, rows) -> None:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")


def parameters(**files) -> InstructionsParameters:
    return InstructionsParameters(source="files", files=files)


def alpaca(count: int, prefix: str = "q") -> list[dict]:
    return [{"instruction": f"{prefix}{n}", "input": "", "output": f"a{n}"} for n in range(count)]


def test_one_file_is_split_by_prompt(workspace):
    rows = alpaca(400) + [{"instruction": f"q{n}", "input": "", "output": "another answer"} for n in range(400)]
    jsonl(workspace / "data/raw/all.jsonl", rows)
    out = workspace / "out"
    out.mkdir()
    result = build(parameters(instruct=["data/raw/*.jsonl"]), 3, out, workspace)
    found = {split: [json.loads(line) for line in open(out / f"{split}.jsonl")] for split in SPLITS}
    assert sum(map(len, found.values())) == 800 and all(found.values())
    home: dict[str, str] = {}
    for split, records in found.items():
        for row in records:
            assert home.setdefault(row["prompt"], split) == split
    assert result.documents == [] and result.held_out == set()
    assert result.report["files"]["instruct: data/raw/all.jsonl"]["form"] == "alpaca"


@pytest.mark.parametrize(
    ("form", "row", "expected"),
    [
        ("alpaca", {"instruction": "do", "input": "this", "output": "done"}, ("do\n\nthis", "done")),
        ("alpaca", {"instruction": "do", "input": None, "output": "done"}, ("do", "done")),
        ("alpaca", {"instruction": "do", "output": "done"}, ("do", "done")),
        ("completion", {"prompt": "p", "completion": " c"}, ("p", " c")),
        ("pair", PAIR, ("p", "good")),
        ("chat", CHAT, ("bye", "see you")),
    ],
)
def test_forms_are_detected_and_converted(form, row, expected):
    assert detect([Row("line 1", row)]) == form
    record = convert(form)(row)
    assert (record["prompt"], record["completion"]) == expected
    assert record.get("messages") == row.get("messages") and record.get("rejected") == row.get("rejected")


@pytest.mark.parametrize(
    ("form", "row", "reason"),
    [
        ("alpaca", {"instruction": "do", "output": " "}, "'output' is empty"),
        ("alpaca", {"instruction": 3, "output": "x"}, "'instruction' must be text, not int"),
        ("alpaca", {"instruction": "do", "input": 1, "output": "x"}, "'input' must be text"),
        ("completion", {"prompt": "p"}, "'completion' must be text, not missing"),
        ("completion", {"prompt": "p", "completion": "\ud800"}, "not valid Unicode"),
        ("pair", {**PAIR, "rejected": "good"}, "are the same"),
        ("chat", {"messages": []}, "must be a list"),
        ("chat", {"messages": "hi"}, "must be a list"),
        ("chat", {"messages": [{"role": "user", "content": "hi"}]}, "must alternate"),
        ("chat", {"messages": [{"role": "robot", "content": "hi"}]}, "message 1 must be an object"),
        ("chat", {"messages": [{"role": "user", "content": ""}]}, "message 1: 'content' is empty"),
        ("chat", {"messages": [{"role": "system", "content": "x"}]}, "must alternate"),
    ],
)
def test_rows_of_a_wrong_shape_say_why(form, row, reason):
    with pytest.raises(ValueError, match=reason):
        convert(form)(row)


def test_every_kind_of_file_holds_the_same_rows(workspace):
    rows = [{"prompt": f"p{n}, ü", "completion": "two\nlines"} for n in range(3)]
    jsonl(workspace / "a.jsonl", rows)
    (workspace / "a.json").write_text(json.dumps(rows))
    pq.write_table(pa.Table.from_pylist(rows), workspace / "a.parquet")
    with open(workspace / "a.csv", "w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, ["prompt", "completion"])
        writer.writeheader()
        writer.writerows(rows)
    for name in ("a.jsonl", "a.json", "a.parquet", "a.csv"):
        assert [row.columns for row in read(Table(name, workspace / name))] == rows


def test_every_problem_of_every_file_is_told_at_once(workspace):
    raw = workspace / "data/raw"
    jsonl(raw / "shape.jsonl", [{"question": "q", "answer": "a"}])
    (raw / "broken.jsonl").write_text('{"prompt": "p", "completion": "c"}\nnot json\n[1]\n')
    (raw / "empty.csv").write_text("prompt,completion\n")
    (raw / "bad.parquet").write_bytes(b"nothing")
    (raw / "bad.json").write_text('{"prompt": 1}')
    (raw / "notes.docx").write_text("x")
    with pytest.raises(InputProblem) as caught:
        read_splits(parameters(instruct=["data/raw/*", "elsewhere/*"], test=["data/raw/none.jsonl"]), 1, workspace)
    told = "\n".join(caught.value.problems)
    for expected in (
        "shape.jsonl, line 1: has question, answer, but one of these is expected: instruction, input, output",
        "broken.jsonl: 2 of 3 rows cannot be used",
        "line 2: not JSON",
        "line 3: expected an object",
        "empty.csv: no rows",
        "bad.parquet: cannot be read as parquet",
        "bad.json: cannot be read as json",
        "notes.docx: unknown kind of file",
        "'elsewhere/*' is not under data/raw/",
        "curate.instructions.files.test: no file matches 'data/raw/none.jsonl'",
    ):
        assert expected in told
    assert len(caught.value.problems) == 8


def test_few_broken_rows_are_counted_and_sampled(workspace):
    jsonl(workspace / "data/raw/a.jsonl", [*alpaca(300), {"instruction": "", "output": "x"}])
    records, report = read_splits(parameters(instruct=["data/raw/a.jsonl"]), 1, workspace)
    assert sum(map(len, records.values())) == 300
    assert report["files"]["instruct: data/raw/a.jsonl"] == {
        "form": "alpaca", "rows": 301, "broken": 1, "examples": ["line 301: 'instruction' is empty"],
    }  # fmt: skip


def test_prompts_of_test_files_leave_the_others(workspace):
    raw = workspace / "data/raw"
    jsonl(raw / "train.jsonl", alpaca(300))
    jsonl(raw / "test.jsonl", alpaca(20))
    jsonl(raw / "pairs.jsonl", [{**PAIR, "prompt": f"q{n}"} for n in range(15, 40)])
    jsonl(raw / "dev.jsonl", alpaca(5, "dev"))
    files = {"instruct": "train", "test": "test", "preference": "pairs", "development": "dev"}
    globs = {split: [f"data/raw/{name}.jsonl"] for split, name in files.items()}
    records, report = read_splits(parameters(**globs), 1, workspace)
    assert len(records["test"]) == 20 and len(records["preference"]) == 20
    assert records["preference"][0]["rejected"] == "bad"
    tested = {row["prompt"] for row in records["test"]}
    assert not any(row["prompt"] in tested for split in SPLITS if split != "test" for row in records[split])
    assert sum(report["taken_out_as_held_out"].values()) == 25
    assert report["split_by_prompt"] == ["reward"]


def test_too_few_rows_for_a_split(workspace):
    jsonl(workspace / "data/raw/a.jsonl", alpaca(2))
    with pytest.raises(InputProblem, match=r"no rows for .*2 rows in all.*name files for these splits"):
        read_splits(parameters(instruct=["data/raw/a.jsonl"]), 1, workspace)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner, max_size=3),
    max_leaves=6,
)
keys = st.sampled_from(["messages", "prompt", "completion", "chosen", "rejected", "instruction", "input", "output"])


messages = st.lists(st.fixed_dictionaries({"role": json_values, "content": json_values}))


@given(st.dictionaries(keys, json_values | messages))
def test_any_row_becomes_a_whole_record_or_a_reason(row):
    for form in ("alpaca", "completion", "pair", "chat"):
        try:
            record = convert(form)(row)
        except ValueError as error:
            assert str(error)
        else:
            assert record["prompt"].strip() and record["completion"].strip()


@settings(max_examples=60)
@given(st.binary(max_size=200), st.sampled_from([".jsonl", ".json", ".csv", ".parquet"]))
def test_any_bytes_give_rows_or_an_input_problem(content, suffix):
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, f"x{suffix}")
        path.write_bytes(content)
        try:
            assert all(row.columns is not None or row.error for row in read(Table("x", path)))
        except InputProblem as problem:
            assert problem.problems[0].startswith("x: cannot be read")
