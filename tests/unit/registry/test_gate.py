"""The gate: every check is told with its figures, noise is called noise, different data is not compared."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from sqlalchemy import select

from core.errors import InputProblem
from registry.db.references import resolve
from registry.db.schema import ModelVersion
from registry.lineage.recording import record_execution
from registry.promotion.gate import Check, PairedGain, Verdict
from registry.promotion.gate import judge as judge_evidence
from registry.promotion.parameters import PromotionParameters
from tests.tiny_decoder import save
from tests.unit.registry.conftest import item

SIGNED = Check("signatures valid", True, "neither it nor a model it descends from was signed before")


@pytest.fixture
def files(tmp_path: Path) -> Path:
    folder = tmp_path / "model"
    save(folder, 1.0)
    return folder


def judge(session, candidate, champion, alias, parameters, files, unmeasured=None, pair=None) -> Verdict:
    return judge_evidence(session, candidate, champion, alias, parameters, files, unmeasured or {}, SIGNED, pair=pair)


@pytest.fixture
def compared(registry, finished, files):
    """Judges a second version against the first, which was measured before it."""

    def compare(first: dict | None, second: dict, rules: dict, raw: str = "raw", pair=None):
        with registry.write() as session:
            for number, figures in enumerate((first, second), 1):
                if figures is None:
                    continue
                corpus = item("corpus", figures.pop("on", "c0"))
                model = item("model", f"m{number}", "model", "base")
                metric = {"name": "accuracy", "higher_is_better": True, "eval_set": "corpus", **figures}
                record_execution(session, finished("curate", [item("raw", "r", raw)], [corpus], started=number))
                record_execution(session, finished("pretrain", [corpus], [model], started=number))
                read = [item("model", f"m{number}", "model"), corpus]
                record_execution(session, finished("evaluate@base", read, [], [metric], started=number))
        with registry.read() as session:
            versions = session.scalars(select(ModelVersion).order_by(ModelVersion.version)).all()
            champion = versions[0] if first is not None else None
            parameters = PromotionParameters.model_validate({"base": rules})
            return judge(session, versions[-1], champion, "champion", parameters, files, pair=pair)

    return compare


def check(verdict, name: str):
    return next(check for check in verdict.checks if check.name.startswith(name))


def test_first_promotion_by_thresholds_alone(compared):
    verdict = compared(None, {"value": 0.7, "stderr": 0.01}, {"accuracy": {"min": 0.6, "max": 0.9}})
    assert verdict.passed and verdict.champion is None
    assert [line.name for line in verdict.checks] == [
        "accuracy at least 0.6",
        "accuracy at most 0.9",
        "lineage complete",
        "signatures valid",
        "weights in safetensors only",
        "model loads",
        "generation",
    ]
    assert check(verdict, "accuracy at least").detail == "0.7 ± 0.01"


@pytest.mark.parametrize(("value", "passed"), [(0.59, False), (0.6, True), (0.9, True), (0.91, False)])
def test_thresholds_are_inclusive(compared, value, passed):
    assert compared(None, {"value": value}, {"accuracy": {"min": 0.6, "max": 0.9}}).passed is passed


@pytest.mark.parametrize(
    ("first", "second", "rule", "passed", "told"),
    [
        (
            {"value": 0.70, "stderr": 0.02},
            {"value": 0.68, "stderr": 0.02},
            {},
            True,
            "worse by 0.02, which is inside the noise",
        ),
        ({"value": 0.70, "stderr": 0.02}, {"value": 0.60, "stderr": 0.02}, {}, False, "outside the noise"),
        ({"value": 0.70}, {"value": 0.68}, {}, False, "worse by 0.02"),
        ({"value": 0.70}, {"value": 0.68}, {"max_drop": 0.05}, True, "worse by 0.02"),
        ({"value": 0.70}, {"value": 0.75}, {}, True, "better by 0.05"),
        ({"value": 0.70}, {"value": 0.70}, {}, True, "no difference"),
        (
            {"value": 2.0, "higher_is_better": False},
            {"value": 2.5, "higher_is_better": False},
            {},
            False,
            "worse by 0.5",
        ),
        (
            {"value": 2.0, "higher_is_better": None},
            {"value": 2.5, "higher_is_better": None},
            {},
            False,
            "which direction",
        ),
        (
            {"value": 0.7, "on": "c1"},
            {"value": 0.8, "on": "c2"},
            {},
            False,
            "not comparable: measured on evaluation set c2",
        ),
        ({"value": 0.7, "eval_set": None}, {"value": 0.8, "eval_set": None}, {}, False, "no known evaluation set"),
    ],
)
def test_against_the_champion(compared, first, second, rule, passed, told):
    line = check(compared(first, second, {"accuracy": rule}), "accuracy against base:1")
    assert (line.passed, told in line.detail) == (passed, True), line


def test_comparison_may_be_switched_off(compared):
    verdict = compared(
        {"value": 0.9, "on": "c1"}, {"value": 0.7, "on": "c2"}, {"accuracy": {"min": 0.5, "max_drop": None}}
    )
    assert verdict.passed


def test_unmeasured_metric_and_missing_rules(compared):
    verdict = compared(None, {"value": 0.7}, {"acuracy": {"min": 0.5}})
    assert not verdict.passed
    assert check(verdict, "acuracy").detail == "never measured on base:1; measured: accuracy"
    assert not check(compared(None, {"value": 0.7}, {}), "thresholds").passed


def test_stage_of_a_metric_may_be_named(compared):
    assert compared(None, {"value": 0.7}, {"evaluate@base.accuracy": {"min": 0.6}}).passed


def test_incomplete_lineage(compared):
    line = check(compared(None, {"value": 0.7}, {"accuracy": {}}, raw="dataset"), "lineage")
    assert not line.passed and "data/raw" in line.detail


@pytest.mark.parametrize(
    ("name", "content", "told"),
    [
        ("pytorch_model.bin", b"pickle", "can run code when loaded: pytorch_model.bin"),
        ("model.safetensors", b"not a header", "model.safetensors is damaged"),
        (None, b"", "no .safetensors file"),
    ],
)
def test_weights(compared, files, name, content, told):
    if name is None:
        (files / "model.safetensors").unlink()
    else:
        (files / name).write_bytes(content)
    line = check(compared(None, {"value": 0.7}, {"accuracy": {}}), "weights")
    assert not line.passed and told in line.detail


def test_evaluation_is_better_evidence_than_the_makers_own_figure(registry, finished, files):
    model = item("model", "m", "model", "base")
    with registry.write() as session:
        own = {"name": "accuracy", "value": 0.9}
        record_execution(session, finished("pretrain", [item("raw", "r", "raw")], [model], [own]))
        theirs = {"name": "accuracy", "value": 0.4}
        record_execution(session, finished("evaluate@base", [item("model", "m", "model")], [], [theirs]))
    with registry.read() as session:
        rules = PromotionParameters.model_validate({"base": {"accuracy": {"min": 0.5}}})
        verdict = judge(session, resolve(session, "base"), None, "champion", rules, files)
    assert check(verdict, "accuracy").detail == "0.4"


def test_verdicts_are_content_addressed(compared, tmp_path):
    verdict = compared(None, {"value": 0.7}, {"accuracy": {"min": 0.6}})
    path, digest = verdict.save(tmp_path / "gates")
    assert verdict.save(tmp_path / "gates") == (path, digest)
    assert path.name == f"{digest}.json" and json.loads(path.read_text())["passed"] is True


def test_every_mistake_in_the_rules_is_told(tmp_path):
    (tmp_path / "params.yaml").write_text(
        "promotion:\n  base:\n    loss: {min: 2, max: 1}\n    accuracy: {mni: 1, max_drop: -1}\n"
        "  reward: {accuracy: high}\n"
    )
    with pytest.raises(InputProblem) as refused:
        PromotionParameters.load(tmp_path)
    for told in (
        "base.loss: ",
        "min 2.0 is above max 1.0",
        "base.accuracy.mni",
        "base.accuracy.max_drop",
        "reward.accuracy",
    ):
        assert told in str(refused.value)
    (tmp_path / "params.yaml").write_text("promotion: [")
    with pytest.raises(InputProblem, match="not readable"):
        PromotionParameters.load(tmp_path)


def test_a_worsening_is_judged_by_the_paired_difference_where_the_items_are_at_hand(compared):
    asked = []

    def pair(mine, other):
        asked.append((mine.value, other.value))
        return found

    def verdict():
        first, second = {"value": 0.80, "stderr": 0.05}, {"value": 0.76, "stderr": 0.05}
        return check(compared(first, second, {"accuracy": {"max_drop": 0.0}}, pair=pair), "accuracy against base:1")

    found = None
    assert verdict().passed, "inside the noise of two values by themselves"
    found = PairedGain(-0.04, 0.01, 50)
    line = verdict()
    assert not line.passed and asked == [(0.76, 0.8)] * 2
    assert "worse by 0.04, which is outside the paired noise of 50 shared items (± 0.0196)" in line.detail
