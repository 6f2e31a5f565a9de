"""`stemma run --skip STAGE`: what is left out, what cannot run without it, and who is judged all the same."""

import pytest

from core.errors import InputProblem
from flows.pipeline.graph import Graph
from flows.pipeline.promotion import _is_missed
from flows.pipeline.skipping import leave_out, resolve

GRAPH = Graph(
    {
        "pretrain": frozenset(),
        "evaluate@base": frozenset({"pretrain"}),
        "instruct_finetune": frozenset({"pretrain"}),
        "reward_model": frozenset({"instruct_finetune"}),
        "preference_tune": frozenset({"instruct_finetune", "reward_model"}),
        "evaluate@assistant": frozenset({"preference_tune"}),
    }
)


def test_unknown_names_are_refused_together_with_what_there_is():
    with pytest.raises(InputProblem) as caught:
        resolve(GRAPH, ["reward", "zzz"])
    first, second = caught.value.problems
    assert "--skip: no stage called 'reward'; did you mean 'reward_model'?" in first
    assert "--skip: no stage called 'zzz'; there are: pretrain, instruct_finetune" in second
    assert resolve(GRAPH, ["evaluate"]) == {"evaluate@base", "evaluate@assistant"}


def test_what_needs_a_left_out_stage_is_left_out_too_and_an_optional_input_is_not_needed(tmp_path):
    kept, [sentence] = leave_out(tmp_path, GRAPH, GRAPH.order, {"instruct_finetune"})
    assert kept == ["pretrain", "evaluate@base", "reward_model"], "a reward model may start from models/base"
    assert sentence.startswith("left out: instruct_finetune; and what needs their outputs, which no earlier run made: ")
    assert "preference_tune (needs instruct_finetune), evaluate@assistant (needs preference_tune)" in sentence

    kept, [sentence] = leave_out(tmp_path, GRAPH, GRAPH.order, {"reward_model"})
    assert kept == [stage for stage in GRAPH.order if stage != "reward_model"]
    assert sentence == "left out: reward_model"
    assert (tmp_path / "models/reward").is_dir(), "DVC wants the folder of an optional input"


def test_what_an_earlier_run_made_is_used(tmp_path):
    (tmp_path / "models/instruct").mkdir(parents=True)
    (tmp_path / "dvc.lock").write_text(
        "schema: '2.0'\nstages:\n  instruct_finetune:\n    cmd: x\n    outs:\n"
        "    - {path: models/instruct, hash: md5, md5: d751713988987e9331980363e24189ce.dir}\n"
    )
    kept, [sentence] = leave_out(tmp_path, GRAPH, GRAPH.order, {"instruct_finetune"})
    assert kept == [stage for stage in GRAPH.order if stage != "instruct_finetune"]
    assert sentence == "left out: instruct_finetune"


def test_without_names_nothing_is_left_out(tmp_path):
    assert leave_out(tmp_path, GRAPH, GRAPH.order, frozenset()) == (GRAPH.order, [])


def test_a_candidate_is_judged_without_what_would_have_been_made_of_it():
    missed = [stage for stage in GRAPH.order if _is_missed(GRAPH, "pretrain", stage)]
    assert missed == ["pretrain", "evaluate@base"]
