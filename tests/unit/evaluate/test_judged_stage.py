"""The stage with a judge: a real tiny model and a real server; metrics, page, and that judging again costs nothing."""

from __future__ import annotations

import json
import shutil

import pytest

from components import pages
from components.evaluate import component, items
from core.errors import InputProblem
from tests.stage import run_component
from tests.unit.evaluate.conftest import write_corpus, write_instructions
from tests.unit.evaluate.judging_server import judging_server

QUICK = {"lm_eval": {"tasks": []}, "samples": {"prompts": []}, "answers": {"batch_size": "auto", "max_new_tokens": 4}}
ROWS = [{"prompt": f"Say {word}.", "completion": word, "group": word[0]} for word in ("a", "be", "cat", "bed")]


@pytest.fixture
def workspace(prepared, tmp_path):
    shutil.copytree(prepared, tmp_path, dirs_exist_ok=True)
    write_corpus(tmp_path / "data/corpus", {split: [] for split in ("train", "validation", "test")})
    write_instructions(tmp_path / "data/instructions", {"test": ROWS})
    (tmp_path / "data/raw").mkdir()
    (tmp_path / "data/raw/q.jsonl").write_text(
        json.dumps({"question_id": 1, "category": "math", "turns": ["1+1?", "And 1?"], "reference": ["2", "3"]}) + "\n"
        + json.dumps({"question_id": 2, "category": "writing", "turns": ["Write.", "More " * 200]}) + "\n"
    )  # fmt: skip
    return tmp_path


def evaluate(workspace, server, **judge):
    settings = {"endpoint": server.url, "model": "judge", "max_new_tokens": 4, "attempts": 1, **judge}
    return run_component(
        component, workspace, {**QUICK, "judge": settings}, instance="assistant", cache=workspace / "cache"
    )


def test_answers_are_scored_and_judging_again_asks_nothing_and_changes_nothing(workspace):
    with judging_server() as server:
        server.answer = lambda text: "Well. [[9]]" if "Reference answer" in text else "Hm. [[3]]"
        context = evaluate(workspace, server, mt_bench="data/raw/q.jsonl", min_judged=0.7)
        metrics = {metric.name: metric for metric in context.metrics}
        assert (metrics["judge_score"].value, metrics["judge_score"].n, metrics["judge_score"].eval_set) == (
            9, 4, "instructions",
        )  # fmt: skip
        # Two answers with references (9, 9), one without (3); the other's second turn does not fit the context.
        assert metrics["mt_bench"].eval_set == "raw"
        assert metrics["mt_bench"].value == pytest.approx(7) and metrics["mt_bench_turn_1"].value == 6
        assert any("1 of 4 answers were not asked for" in warning for warning in context.warnings)
        assert context.environment["judge_prompt_tokens"] == "700"
        folder = context.outputs["report"]
        rows = [row for row in items.read(folder) if row.metric == "judge_score"]
        assert [row.question for row in rows] == [row["prompt"] for row in ROWS] and rows[0].group == "a"
        page = pages.evaluate.render(folder).html()
        assert "Judged by a language model" in page and "MT-Bench, second turn" in page and "Well. [[9]]" in page
        before, asked = (folder / "report.json").read_bytes(), len(server.asked)
        again = evaluate(workspace, server, mt_bench="data/raw/q.jsonl", min_judged=0.7)
        assert (folder / "report.json").read_bytes() == before and len(server.asked) == asked == 7
        assert again.environment == context.environment


def test_answers_are_compared_with_the_demonstrated_ones(workspace):
    with judging_server() as server:
        server.answer = lambda text: "[[A]]"  # whoever stands first
        context = evaluate(workspace, server, mode="pairwise")
        metrics = {metric.name: metric for metric in context.metrics}
        assert metrics["judge_win_rate"].value == metrics["judge_win_rate_length_controlled"].value == 0.5
        report = json.loads((context.outputs["report"] / "report.json").read_text())
        assert report["judge"]["inconsistent"] == 4
        assert "judged by their order alone" in pages.evaluate.render(context.outputs["report"]).html()


def test_too_few_verdicts_are_no_metric(workspace):
    with judging_server() as server:
        server.answer = lambda text: "No." if "Say a." in text else "[[5]]"
        context = evaluate(workspace, server)
    assert "judge_score" not in {metric.name for metric in context.metrics}
    assert any("a verdict on 3 of 4 answers" in warning for warning in context.warnings)
    assert any("1 × the answer does not give a score" in warning for warning in context.warnings)


def test_a_judge_that_is_down_is_named_before_the_model_is_loaded(workspace):
    with judging_server() as server:
        pass
    shutil.rmtree(workspace / "data/instructions")  # it would be missed first if the judge were asked later
    with pytest.raises(InputProblem, match=r"evaluate\.judge: the judge at .* does not answer"):
        evaluate(workspace, server)
