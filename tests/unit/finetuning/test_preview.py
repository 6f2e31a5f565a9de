"""Rows as a model is trained on them: what is learnt is marked, on a terminal and without one."""

import json
import subprocess

import pytest
from typer.testing import CliRunner

from cli.main import app
from core.text import printable
from tests.chat_templates import tokenizer
from tests.unit.finetuning.workspace import write_records

DIALOGUE = [
    {"role": "user", "content": "One?"},
    {"role": "assistant", "content": "Two\x1b[31m [[3]]."},
    {"role": "user", "content": "More?"},
    {"role": "assistant", "content": "No."},
]
PAIR = {"prompt": "Hi?", "chosen": "good", "rejected": "bad"}


@pytest.fixture
def workspace(tmp_path, monkeypatch):
    subprocess.run(["git", "init", "-q", tmp_path], check=True)
    (tmp_path / "dvc.yaml").write_text("stages: {}\n")
    (tmp_path / "params.yaml").write_text("instruct_finetune: {train_on: last}\n")
    tokenizer("gemma").save_pretrained(tmp_path / "models/tokenizer")
    system = [{"role": "system", "content": "Be brief."}, *DIALOGUE]
    write_records(
        tmp_path,
        instruct=[{"messages": DIALOGUE}, {"messages": system}],
        preference=[PAIR, {**PAIR, "ranked": ["a", "b", "c"]}, {"prompt": "Hi?", "completion": "x", "label": False}],
        reward=[{"prompt": "Hi?"}],
    )
    monkeypatch.chdir(tmp_path)
    return tmp_path


def preview(*arguments: str) -> str:
    result = CliRunner().invoke(app, ["data", "preview", *arguments])
    assert result.exit_code == 0, result.output
    return result.output


def test_rows_are_shown_with_what_is_learnt_or_why_they_are_left_out(workspace):
    output = preview()
    assert "instruct.jsonl by the chat template of models/tokenizer" in output
    assert printable("model\nTwo\x1b[31m [[3]].<end_of_turn>\n") in output and "\x1b" not in output
    assert "<start_of_turn>model\n[[No.<end_of_turn>]]" in output
    assert "row 2\nleft out: the chat template refuses it: System role not supported" in output
    first, second = json.loads(preview("--json"))
    assert first["parts"][1] == ["No.<end_of_turn>", True] and second["parts"] == []
    assert "row 2" not in preview("-n", "1")


def test_pairs_rankings_labels_and_questions_are_shown(workspace):
    output = preview("--stage", "preference_tune")
    for what, answer in (("row 1, chosen", "good"), ("row 1, rejected", "bad"), ("row 2, rank 2", "b"),
                         ("row 3, labelled false", "x")):  # fmt: skip
        assert f"{what}\n<bos><start_of_turn>user\nHi?<end_of_turn>\n<start_of_turn>model\n[[{answer}<end" in output
    assert "row 1, question" in preview("--stage", "reward_model")


def test_without_a_tokenizer_it_says_what_to_do(workspace):
    (workspace / "models/tokenizer/tokenizer_config.json").unlink()
    result = CliRunner().invoke(app, ["data", "preview"])
    assert "run `stemma run` first" in str(result.exception)
