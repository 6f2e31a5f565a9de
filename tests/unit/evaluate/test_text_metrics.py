"""Metrics of free answers against published values, and a user's own checks."""

import json
import shutil

import pytest
from pydantic import ValidationError

from components import pages
from components.evaluate import component, items, own_checks
from components.evaluate.parameters import AnswerParameters, EvaluateParameters, FunctionCheck, JsonSchemaCheck
from components.evaluate.text_metrics import corpus_score, exact_match, rouge_l, token_f1
from core.errors import InputProblem
from tests.sandboxes import needs_sandbox
from tests.stage import run_component
from tests.unit.evaluate.conftest import write_corpus, write_instructions


def test_bleu_and_chrf_are_sacrebleu_s_published_values():
    # The example of sacrebleu's README, two references each: BLEU = 48.53, chrF2 = 59.73.
    answers = ["The dog bit the man.", "It wasn't surprising.", "The man had just bitten him."]
    references = [
        ["The dog bit the man.", "The dog had bit the man."],
        ["It was not unexpected.", "No one was surprised."],
        ["The man bit him first.", "The man had bitten the dog."],
    ]
    found = {name: corpus_score(name, answers, references, "abc", 1) for name in ("bleu", "chrf")}
    assert round(found["bleu"].value, 2) == 48.53 and round(found["chrf"].value, 2) == 59.73
    assert found["bleu"].stderr > 0 and found["chrf"].n == 3


def test_rouge_l_is_rouge_score_s_published_value():
    # The example of rouge_score's README: precision 5 / 8, recall 5 / 9.
    said, wanted = "The quick brown dog jumps on the log.", "The quick brown fox jumps over the lazy dog"
    assert rouge_l(said, wanted) == pytest.approx(2 * 5 / (8 + 9))


def test_exact_match_and_f1_are_those_of_squad():
    assert exact_match("The Cat!", "cat") == 1 and exact_match("a cat sat", "cat") == 0
    assert token_f1("a black cat", "the cat sat down") == pytest.approx(2 * 1 / (2 + 3))
    assert token_f1("", "the") == 1 and token_f1("", "cat") == 0


def test_own_rows_with_free_answers_get_metrics_by_default(prepared, tmp_path):
    shutil.copytree(prepared, tmp_path, dirs_exist_ok=True)
    said = [{"prompt": f"What is {n}?", "completion": f"{n} is a number", "group": str(n // 2), "kind": f"kind {n % 2}"}
            for n in range(8)]  # fmt: skip
    write_instructions(tmp_path / "data/instructions", {"test": said})
    write_corpus(tmp_path / "data/corpus", {split: [] for split in ("train", "validation", "test")})
    (tmp_path / "data/raw").mkdir()
    checks = [{"type": "regex", "name": "has_letters", "pattern": "[a-z]", "higher_is_better": False},
              {"type": "json_schema", "name": "broken", "path": "data/raw/broken.json"}]  # fmt: skip
    (tmp_path / "data/raw/broken.json").write_text('{"type": 1}')
    parameters = {"lm_eval": {"tasks": []}, "samples": {"prompts": []},
                  "answers": {"max_new_tokens": 4, "checks": checks}}  # fmt: skip
    context = run_component(component, tmp_path, parameters, instance="instruct")
    metrics = {metric.name: metric for metric in context.metrics}
    for name in ("exact_match", "f1", "rouge_l", "bleu", "chrf"):
        assert metrics[name].n == 8 and metrics[name].eval_set == "instructions", name
        assert metrics[name].stderr is not None and "copy of the question" in metrics[name].baselines
    assert metrics["f1"].baselines["copy of the question"] == pytest.approx(2 * 2 / (3 + 3))
    assert metrics["has_letters"].higher_is_better is False and "broken" not in metrics
    rows = [row for row in items.read(context.outputs["report"]) if row.metric == "chrf" or row.metric == "rouge_l"]
    assert len(rows) == 8 and rows[0].reference == "0 is a number"
    assert any("evaluate.answers.checks: broken was left out" in each for each in context.warnings)
    assert any("8 of 8 demonstrated answers are longer than the 4 tokens" in each for each in context.warnings)
    page = pages.evaluate.render(context.outputs["report"]).html()
    assert "chrf" in page and "kind 1" in page and "broken was left out" in page


def test_json_schema_checks_answers_with_and_without_a_fence(tmp_path):
    path = tmp_path / "schema.json"
    path.write_text(json.dumps({"type": "object", "required": ["name"], "properties": {"name": {"type": "string"}}}))
    valid = own_checks._validator(path)
    assert valid('{"name": "x"}') and valid('```json\n{"name": "x"}\n```')
    assert not valid('{"name": 1}') and not valid("name") and not valid("[" * 10_000)
    path.write_text('{"$ref": "https://example.org/schema.json"}')  # never fetched
    with pytest.raises(InputProblem, match=r"example\.org"):
        own_checks._validator(path)("{}")
    path.write_text('{"type": 1}')
    with pytest.raises(InputProblem, match="no JSON schema"):
        own_checks._validator(path)


@needs_sandbox
def test_a_user_s_function_scores_answers_in_the_sandbox(tmp_path):
    raw = tmp_path / "data/raw"
    raw.mkdir(parents=True)
    records = [{"prompt": "a", "completion": "ab", "group": "a"}, {"prompt": "b", "completion": None, "group": "b"}]

    def scores(source):
        (raw / "check.py").write_text(source)
        check = FunctionCheck(name="own", path="data/raw/check.py")
        return own_checks._scores(check, raw, records, ["abab", "x"])

    given = "def score(record, answer):\n    print('seen')\n    text = record['completion']\n"
    assert scores(f"{given}    return answer.count(text) if text else None") == [2.0, None]
    with pytest.raises(InputProblem, match="No such file"):
        scores("def score(record, answer): return len(open('/etc/hostname').read())")
    with pytest.raises(InputProblem, match="one finite number, or None"):
        scores("def score(record, answer): return float('nan')")
    with pytest.raises(InputProblem, match="KeyError: 'score'"):
        scores("def rate(record, answer): return 1")


def test_problems_of_checks_are_found_before_anything_runs(tmp_path):
    with pytest.raises(ValidationError, match="is no regular expression"):
        AnswerParameters(checks=({"type": "regex", "name": "x", "pattern": "("},))
    with pytest.raises(ValidationError, match="the name of another metric"):
        JsonSchemaCheck(name="accuracy", path="data/raw/x.json")
    with pytest.raises(ValidationError, match="named twice: x"):
        AnswerParameters(checks=({"type": "regex", "name": "x", "pattern": "a"},) * 2)
    parameters = EvaluateParameters(answers={"checks": [{"type": "function", "name": "own", "path": "data/raw/no.py"}]})
    [missing] = component.check(parameters, tmp_path, {})
    assert missing == "evaluate.answers.checks: there is no data/raw/no.py, which own needs"
