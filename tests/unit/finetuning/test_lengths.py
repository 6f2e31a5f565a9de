"""``seq_length: auto``: by the lengths of the examples, at most the model's context."""

import json

import pytest
from pydantic import ValidationError

import components
from components import pages
from components.finetuning.lengths import choose
from components.finetuning.pairs import answered_lengths
from components.instruct_finetune import InstructFinetuneParameters
from tests.stage import run_component
from tests.unit.finetuning.workspace import make_workspace, quick, save_model, signature_records, write_records

MANY = [*[50] * 198, 70, 500]


@pytest.mark.parametrize(
    ("lengths", "limit", "everything", "chosen"),
    [
        (MANY, 2048, False, 64),  # 1 % are 2 of 200
        (MANY, 2048, True, 512),
        ([*MANY, 70], 2048, False, 128),
        (MANY, 400, True, 400),
        ([64], 2048, False, 64),
        ([65], 2048, False, 128),
    ],
)
def test_the_rule(lengths, limit, everything, chosen):
    assert choose(lengths, limit, everything=everything) == chosen


def test_a_long_example_is_cut_and_the_report_says_what_was_chosen(tmp_path):
    make_workspace(tmp_path)
    rows = signature_records(150)
    save_model(tmp_path / "models/base", [row["prompt"] for row in rows], context=256)
    write_records(tmp_path, instruct=[{**rows[0], "completion": " alpha" * 120}, *rows[1:]])
    context = run_component(components.load("instruct_finetune"), tmp_path, quick(
        1, seq_length="auto", too_long="truncate", generation={"max_new_tokens": 4}, learning_rate="auto"))  # fmt: skip
    said = context.environment["seq_length"]
    assert said.startswith("64 (the smallest multiple of 64 that holds 99% of the 174 examples, at most the 256 tokens")
    assert "; 1 are longer" in said
    assert any("instruct.jsonl: 1 of 150 rows are cut to 64 tokens" in warning for warning in context.warnings)
    report = json.loads((tmp_path / "reports/instruct_finetune/report.json").read_text())
    assert report["chosen"]["seq_length"] == said and set(report["chosen"]) == {"seq_length", "learning_rate"}
    assert said in pages.render(tmp_path, "instruct_finetune").read_text()


def test_pairs_are_as_long_as_their_longer_answer_and_drawn_answers_have_room(tmp_path):
    _, tokenizer = save_model(tmp_path, ["alpha beta"])
    pair, bare = {"prompt": "alpha", "chosen": "a", "rejected": "b" * 30}, {"prompt": "alpha"}
    short, long, drawn = answered_lengths(tokenizer, [pair, bare], 7)
    assert long > short + 20 and drawn == answered_lengths(tokenizer, [bare], 0)[0] + 7
    assert answered_lengths(tokenizer, [pair], 7, drawn=True) == [drawn]


@pytest.mark.parametrize("wrong", [0, True, "long"])
def test_other_lengths_are_refused(wrong):
    with pytest.raises(ValidationError):
        InstructFinetuneParameters(seq_length=wrong)
