"""Instruction files of the wrong shape: every problem at once."""

import json

import pytest

from components.finetuning.records import conversation, demonstration, read_records
from components.instruct_finetune import component
from core.errors import InputProblem
from tests.stage import run_component
from tests.unit.finetuning.workspace import make_workspace, signature_records, write_records


def problems_of(function, *args, **kwargs):
    with pytest.raises(InputProblem) as caught:
        function(*args, **kwargs)
    return caught.value.problems


def test_every_broken_row_is_named(tmp_path):
    rows = [
        "not json",
        json.dumps(["a list"]),
        json.dumps({"completion": "x"}),
        json.dumps({"prompt": "q"}),
        json.dumps({"messages": [{"role": "robot", "content": "x"}]}),
        json.dumps({"prompt": "q", "completion": "fine"}),
        json.dumps({"prompt": "q", "completion": "a", "chosen": "b"}),
    ]
    (tmp_path / "instruct.jsonl").write_text("\n".join(rows))
    problems = problems_of(read_records, tmp_path, "instruct", needs="answer")
    assert [int(problem.split("row ")[1].split(":")[0]) for problem in problems] == [1, 2, 3, 4, 5, 7]


def test_many_broken_rows_are_counted(tmp_path):
    (tmp_path / "instruct.jsonl").write_text("{}\n" * 50)
    problems = problems_of(read_records, tmp_path, "instruct", needs="answer")
    assert len(problems) == 11 and "50 in all" in problems[-1]


@pytest.mark.parametrize("content", [None, "", "\n\n"])
def test_a_missing_or_empty_file_says_what_to_do(tmp_path, content):
    if content is not None:
        (tmp_path / "instruct.jsonl").write_text(content)
    assert "curate" in problems_of(read_records, tmp_path, "instruct", needs="answer")[0]


def test_messages_and_prompts_are_read_alike(tmp_path):
    chat = [{"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}]
    rows = [{"messages": chat}, {"prompt": "q", "completion": "a"}]
    (tmp_path / "x.jsonl").write_text("\n".join(map(json.dumps, rows)))
    one, other = read_records(tmp_path, "x", needs="answer")
    assert demonstration(one) == demonstration(other) == chat
    assert conversation(one) == conversation(other) == chat[:1]
    assert one["prompt"] == "q" and one["group"] == other["group"]


def test_rows_longer_than_the_context_stop_the_stage_with_all_of_them_named(tmp_path):
    make_workspace(tmp_path)
    long = {**signature_records(1)[0], "prompt": "word " * 200}
    write_records(tmp_path, instruct=[*signature_records(20), long], development=[long, *signature_records(5)])
    problems = problems_of(run_component, component, tmp_path)
    for where in ("instruct.jsonl, row 21", "development.jsonl, row 1"):
        assert any(where in problem for problem in problems)
    assert any("too_long" in p for p in problems)
    assert not list((tmp_path / "models" / "instruct").iterdir())


def test_both_files_are_checked_before_the_stage_gives_up(tmp_path):
    make_workspace(tmp_path)
    write_records(tmp_path, instruct=[{"prompt": "q"}], development=[{"prompt": "q"}])
    problems = problems_of(run_component, component, tmp_path)
    assert any("instruct.jsonl" in p for p in problems) and any("development.jsonl" in p for p in problems)
