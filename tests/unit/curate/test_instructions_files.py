"""The user's own instruction files: every form, splits by prompt, every problem at once."""

from __future__ import annotations

import bz2
import csv
import gzip
import io
import json
import lzma
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import zstandard
from pydantic import ValidationError

from components.curate.parameters import InstructionsParameters
from components.curate.supervised.forms import convert, form_of
from components.curate.supervised.instructions import build, read_splits
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
    result = build(parameters(instruct=["data/raw/*.jsonl"]), 3, out, workspace, pytest.fail)
    found = {split: [json.loads(line) for line in open(out / f"{split}.jsonl")] for split in SPLITS}
    assert sum(map(len, found.values())) == 800 and all(found.values())
    home: dict[str, str] = {}
    for split, records in found.items():
        for row in records:
            assert home.setdefault(row["prompt"], split) == split
    assert result.documents == [] and result.held_out == set()
    assert result.report["files"]["instruct: data/raw/all.jsonl"]["forms"] == {"alpaca": 800}


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
    assert form_of(row).name == form
    record = convert(row)
    assert (record["prompt"], record["completion"]) == expected
    assert record.get("messages") == row.get("messages") and record.get("rejected") == row.get("rejected")


def turn(role: str, content: object, **more: object) -> dict:
    return {"role": role, "content": content, **more}


@pytest.mark.parametrize(
    ("row", "prompt"),
    [
        ({"instruction": "do", "input": "this", "output": "x", "chosen": "good", "rejected": "bad"}, "do\n\nthis"),
        ({**CHAT, "prompt": "p", "chosen": "good", "rejected": "bad"}, "p"),
        (
            {"prompt": "p", "messages": CHAT["messages"], "chosen": [turn("user", "p"), turn("assistant", "good")],
             "rejected": [turn("user", "p"), turn("assistant", "bad")], "score_chosen": 8.0}, "p",
        ),
        (
            {"prompt": [turn("user", "p")], "chosen": [turn("assistant", "good")],
             "rejected": [turn("assistant", "bad")]}, "p",
        ),
        ({"prompt": "p", "chosen": [turn("assistant", "good")], "rejected": [turn("assistant", "bad")]}, "p"),
        ({"messages": [turn("user", "p")], "chosen": "good", "rejected": "bad"}, "p"),
    ],
)  # fmt: skip
def test_a_row_with_chosen_and_rejected_is_a_pair_whatever_else_it_has(row, prompt):
    record = convert(row)
    assert (record["prompt"], record["chosen"], record["rejected"]) == (prompt, "good", "bad")
    assert record["completion"] == "good" and "messages" not in record


def test_a_pair_of_conversations_keeps_what_came_before():
    before = [turn("system", "s"), turn("user", "a"), turn("assistant", "b"), turn("user", "c")]
    record = convert({"chosen": [*before, turn("assistant", "d")], "rejected": [*before, turn("assistant", "e")]})
    assert record["messages"] == before and record["prompt"] == "c"
    assert (record["chosen"], record["rejected"]) == ("d", "e")


@pytest.mark.parametrize(
    ("messages", "expected"),
    [
        ([{"from": "human", "value": "hi"}, {"from": "gpt", "value": "hello"}], ["hi", "hello"]),
        ([turn("user", [{"type": "text", "text": "h"}, {"type": "text", "text": "i"}]), turn("assistant", "hello")],
         ["hi", "hello"]),
        ([turn("user", "hi"), turn("assistant", "hello", weight=1, tool_calls=[], name=None)], ["hi", "hello"]),
    ],
)  # fmt: skip
def test_foreign_chat_forms_are_read(messages, expected):
    for column in ("messages", "conversations"):
        found = convert({column: messages})["messages"]
        assert [message["content"] for message in found] == expected
        assert [set(message) for message in found] == [{"role", "content"}] * 2


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ({"instruction": "do", "output": " "}, "'output' is empty"),
        ({"instruction": 3, "output": "x"}, "'instruction' must be text, not int"),
        ({"instruction": "do", "input": 1, "output": "x"}, "'input' must be text"),
        ({"prompt": "p"}, "has prompt, but one of these is expected"),
        ({"prompt": "p", "completion": "\ud800"}, "not valid Unicode"),
        ({**PAIR, "rejected": "good"}, "are the same"),
        ({**PAIR, "rejected": None}, "'rejected' must be text, not missing"),
        ({**PAIR, "prompt": None}, "'prompt' must be text, not missing"),
        ({**PAIR, "chosen": [turn("assistant", "x")]}, "must both be text, or both lists"),
        ({"chosen": [turn("user", "a"), turn("assistant", "x")],
          "rejected": [turn("user", "b"), turn("assistant", "y")]}, "must differ in their last message alone"),
        ({"chosen": [turn("user", "a")], "rejected": [turn("user", "b")]}, "must end with a message of the assistant"),
        ({**CHAT, "instruction": "do", "output": "done"}, r"two forms, chat \(messages\) and alpaca"),
        ({**CHAT, "conversations": CHAT["messages"]}, "two forms"),
        ({"messages": []}, "must be a list"),
        ({"messages": "hi"}, "must be a list"),
        ({"messages": [turn("user", "hi")]}, "must alternate"),
        ({"messages": [turn("robot", "hi")]}, "message 1 must be an object"),
        ({"messages": [turn("user", "")]}, "message 1: 'content' is empty"),
        ({"messages": [turn("system", "x")]}, "must alternate"),
        ({"messages": [turn("user", "hi"), turn("assistant", "bad", weight=0)]}, "message 2 has the weight 0"),
        ({"messages": [turn("user", "hi"), turn("assistant", "x", tool_calls=[1])]}, "a tool call must be an object"),
        ({"messages": [turn("user", "hi"), turn("assistant", "x", audio=[1])]}, "'audio', which cannot be used"),
        ({"messages": [turn("user", [{"type": "image_url"}])]}, "message 1: a part of its content is not text but 'im"),
    ],
)  # fmt: skip
def test_rows_of_a_wrong_shape_say_why(row, reason):
    with pytest.raises(ValueError, match=reason):
        convert(row)


def test_every_problem_of_every_file_is_reported_at_once(workspace):
    raw = workspace / "data/raw"
    jsonl(raw / "shape.jsonl", [{"question": "q", "answer": "a"}])
    (raw / "broken.jsonl").write_text('{"prompt": "p", "completion": "c"}\nnot json\n[1]\n')
    (raw / "empty.csv").write_text("prompt,completion\n")
    (raw / "bad.parquet").write_bytes(b"nothing")
    (raw / "bad.json").write_text('{"prompt": 1}')
    (raw / "notes.docx").write_text("x")
    with pytest.raises(InputProblem) as caught:
        read_splits(
            parameters(instruct=["data/raw/*", "elsewhere/*"], test=["data/raw/none.jsonl"]), 1, workspace, pytest.fail
        )
    problems = "\n".join(caught.value.problems)
    for expected in (
        "shape.jsonl: has question, answer, but one of these is expected: instruction, input, output",
        "broken.jsonl: 2 of 3 rows cannot be used",
        "line 2: is not JSON",
        "line 3: is not a JSON object",
        "empty.csv: no rows",
        "bad.parquet: cannot be read as parquet",
        "bad.json: is not one JSON list of objects",
        "notes.docx: unknown kind of file",
        "'elsewhere/*' is not under data/raw/",
        "curate.instructions.files.test: there is no file 'data/raw/none.jsonl'",
    ):
        assert expected in problems
    assert len(caught.value.problems) == 8


def test_few_broken_rows_are_counted_and_sampled(workspace):
    jsonl(workspace / "data/raw/a.jsonl", [*alpaca(300), {"instruction": "", "output": "x"}])
    warnings: list[str] = []
    records, report = read_splits(parameters(instruct=["data/raw/a.jsonl"]), 1, workspace, warnings.append)
    assert sum(map(len, records.values())) == 300
    assert warnings == ["data/raw/a.jsonl: 1 of 301 rows could not be used; examples are in the report"]
    assert report["files"]["instruct: data/raw/a.jsonl"] == {
        "forms": {"alpaca": 300}, "rows": 301, "broken": 1, "examples": ["line 301: 'instruction' is empty"],
        "unused_columns": [],
    }  # fmt: skip


def test_prompts_of_test_files_leave_the_others(workspace):
    raw = workspace / "data/raw"
    jsonl(raw / "train.jsonl", alpaca(300))
    jsonl(raw / "test.jsonl", alpaca(20))
    jsonl(raw / "pairs.jsonl", [{**PAIR, "prompt": f"q{n}"} for n in range(15, 40)])
    jsonl(raw / "dev.jsonl", alpaca(5, "dev"))
    files = {"instruct": "train", "test": "test", "preference": "pairs", "development": "dev"}
    globs = {split: [f"data/raw/{name}.jsonl"] for split, name in files.items()}
    records, report = read_splits(parameters(**globs), 1, workspace, pytest.fail)
    assert len(records["test"]) == 20 and len(records["preference"]) == 20
    assert records["preference"][0]["rejected"] == "bad"
    tested = {row["prompt"] for row in records["test"]}
    assert not any(row["prompt"] in tested for split in SPLITS if split != "test" for row in records[split])
    assert sum(report["taken_out_as_held_out"].values()) == 25
    assert report["split_by_prompt"] == ["reward"]


def test_columns_that_look_like_data_and_are_not_used_are_warned_of(workspace):
    rows = [
        {**row, "comment": "You are a careful clerk.", "id": f"row {n}", "score": 0.5}
        for n, row in enumerate(alpaca(300))
    ]
    jsonl(workspace / "data/raw/a.jsonl", rows)
    warnings: list[str] = []
    _, report = read_splits(parameters(instruct=["data/raw/a.jsonl"]), 1, workspace, warnings.append)
    assert warnings == ["data/raw/a.jsonl: not used, though it looks like data: column 'comment'"]
    assert report["files"]["instruct: data/raw/a.jsonl"]["unused_columns"] == ["comment", "id", "score"]


def test_hidden_files_that_a_glob_matches_are_left_out(workspace):
    jsonl(workspace / "data/raw/pairs.jsonl", alpaca(300))
    (workspace / "data/raw/._pairs.jsonl").write_bytes(b"\x00\x05\x16\x07Mac OS X")
    records, _ = read_splits(parameters(instruct=["data/raw/*pairs.jsonl"]), 1, workspace, pytest.fail)
    assert sum(map(len, records.values())) == 300


def test_too_few_rows_for_a_split(workspace):
    jsonl(workspace / "data/raw/a.jsonl", alpaca(2))
    with pytest.raises(InputProblem, match=r"no rows for .*2 rows in all.*name files for these splits"):
        read_splits(parameters(instruct=["data/raw/a.jsonl"]), 1, workspace, pytest.fail)


def test_columns_of_other_names_are_read_by_the_names_that_the_parameters_give(workspace):
    rows = [{"question": f"q{n}", "reply": f"a{n}", "prompt": "a template of some words"} for n in range(300)]
    jsonl(workspace / "data/raw/a.jsonl", rows)
    warnings: list[str] = []
    named = parameters(instruct=["data/raw/a.jsonl"], columns={"prompt": "question", "completion": "reply"})
    records, report = read_splits(named, 1, workspace, warnings.append)
    assert {row["prompt"] for split in records.values() for row in split} == {f"q{n}" for n in range(300)}
    assert report["files"]["instruct: data/raw/a.jsonl"]["unused_columns"] == ["prompt (of the file)"]
    assert warnings == ["data/raw/a.jsonl: not used, though it looks like data: column 'prompt (of the file)'"]
    wrong = parameters(instruct=["data/raw/a.jsonl"], columns={"prompt": "question", "completion": "answer"})
    with pytest.raises(InputProblem, match="no file has a column 'answer'"):
        read_splits(wrong, 1, workspace, pytest.fail)


@pytest.mark.parametrize(
    ("columns", "problem"),
    [({"asked": "q"}, "no form of rows has a column 'asked'"), ({"prompt": "q", "output": "q"}, "'q' stands for two")],
)
def test_names_of_columns_are_checked_without_the_files(columns, problem):
    with pytest.raises(ValidationError, match=problem):
        parameters(instruct=["data/raw/a.jsonl"], columns=columns)


def test_answers_labelled_false_are_not_imitated(workspace):
    rows = [{"prompt": f"q{n}", "completion": "good", "label": True} for n in range(300)]
    bad = [{"prompt": f"q{n}", "completion": "bad", "label": False} for n in range(300)]
    jsonl(workspace / "data/raw/kto.jsonl", rows + bad)
    warnings: list[str] = []
    records, report = read_splits(parameters(instruct=["data/raw/kto.jsonl"]), 1, workspace, warnings.append)
    for split in SPLITS:
        labels = {row["label"] for row in records[split]}
        assert labels == ({True, False} if split in ("reward", "preference") else {True})
    assert sum(report["taken_out_as_rejected"].values()) > 200
    assert "answers that are labelled false are left out of instruct, test, development" in warnings[0]


PUBLIC = Path(__file__).parent / "chats"  # rows in the forms of public files


@pytest.mark.parametrize(
    ("name", "kind", "split"),
    [("alpaca", "alpaca", "instruct"), ("sharegpt_tools", "chat", "instruct"), ("dpo", "pair", "preference"),
     ("kto", "kto", "preference")],
)  # fmt: skip
def test_files_of_public_forms_go_through_as_they_come(workspace, name, kind, split):
    rows = json.loads((PUBLIC / f"{name}.json").read_text(encoding="utf-8"))
    (workspace / "data/raw/public.json").write_text(json.dumps(rows))
    jsonl(workspace / "data/raw/others.jsonl", alpaca(300))
    files = {"instruct": ["data/raw/others.jsonl"], split: ["data/raw/public.json", "data/raw/others.jsonl"]}
    _, report = read_splits(parameters(**files), 1, workspace, pytest.fail)
    assert report["files"][f"{split}: data/raw/public.json"] == {
        "forms": {kind: len(rows)}, "rows": len(rows), "broken": 0, "examples": [], "unused_columns": [],
    }  # fmt: skip
    made = [convert(row) for row in rows]
    for row, record in zip(rows, made, strict=True):
        said = [m.get("content", m.get("value")) for m in row.get("messages", row.get("conversations", []))]
        kept = json.dumps(record, ensure_ascii=False)
        for text in said:
            if not text.startswith('{"name"'):  # a call, which is an object now
                assert json.dumps(text, ensure_ascii=False)[1:-1] in kept
    if kind == "pair":
        assert [(r["chosen"], r["rejected"]) for r in made] == [
            (row["chosen"]["value"], row["rejected"]["value"]) for row in rows
        ]
    if kind == "kto":
        assert [r["label"] for r in made] == [row["label"] for row in rows] and {r["label"] for r in made} == {
            True,
            False,
        }
    if name == "sharegpt_tools":
        assert any(m.get("tool_calls") for r in made for m in r["messages"]) and all(r.get("tools") for r in made[2:3])


def as_text(value: object) -> object:
    return json.dumps(value) if isinstance(value, list | dict) else value


@pytest.mark.parametrize(
    "name", ["a.json", "a.jsonl.gz", "a.csv", "a.tsv.xz", "a.csv.bz2", "a.parquet", "a.parquet.zst"]
)
def test_every_kind_of_file_gives_the_same_records(workspace, name):
    def call(function: str, **arguments: object) -> list[dict]:
        calls = [{"type": "function", "function": {"name": function, "arguments": arguments}}]
        return [
            {"role": "user", "content": f"{function}?"}, {"role": "assistant", "content": "", "tool_calls": calls},
            {"role": "tool", "content": "4,\t\"5\"\n6"}, {"role": "assistant", "content": "It is 4."},
        ]  # fmt: skip

    tools = [{"type": "function", "function": {"name": "add", "parameters": {"type": "object"}}}]
    rows = [
        {"messages": call("add", a=1, b=[2]), "tools": tools, "label": None},
        {"messages": call("weather", city="Oslo"), "tools": None, "label": True},
    ]
    wanted = [convert({key: value for key, value in row.items() if value is not None}) for row in rows]
    path = workspace / "data/raw" / name
    if ".parquet" in name:
        sink = pa.BufferOutputStream()
        pq.write_table(pa.Table.from_pylist(rows), sink)
        content = sink.getvalue().to_pybytes()
    elif ".json" in name:
        content = ("\n".join(map(json.dumps, rows)) if "jsonl" in name else json.dumps(rows)).encode()
    else:
        buffer = io.StringIO()
        writer = csv.DictWriter(buffer, rows[0], delimiter="\t" if "tsv" in name else ",", lineterminator="\n")
        writer.writeheader()
        writer.writerows({key: as_text(value) for key, value in row.items()} for row in rows)
        content = buffer.getvalue().encode()
    packers = {".gz": gzip.compress, ".bz2": bz2.compress, ".xz": lzma.compress, ".zst": zstandard.compress}
    path.write_bytes(packers.get(path.suffix, bytes)(content))
    jsonl(workspace / "data/raw/others.jsonl", alpaca(300))
    files = {"instruct": ["data/raw/others.jsonl"], "preference": [f"data/raw/{name}"]}
    records, _ = read_splits(parameters(**files), 1, workspace, pytest.fail)
    assert records["preference"] == wanted
