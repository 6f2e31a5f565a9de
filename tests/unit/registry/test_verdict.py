"""The verdict on a lineage that was run again: bytes first, then the recipe, then the figures."""

from __future__ import annotations

import pytest

from core.dvc_lock import LockedStage
from registry.lineage.receipts import Receipt
from registry.lineage.reproduction import LineageStage, compare_stage, judge
from registry.promotion.parameters import PromotionParameters
from registry.store.restore import Source

SOURCE = Source("base:1", "first", "c0ffee", "model.dir", "models/base", "pretrain")


def stage(
    name: str, reads: dict[str, str], makes: dict[str, str], *, kind: str = "model", code: str = "code",
    parameters: dict | None = None, python: str = "3.11.7", accuracy: float | None = None, stderr: float | None = None,
) -> LineageStage:  # fmt: skip
    receipt = {
        "schema": 1, "stage": name, "component": {"name": name, "version": "1.0.0", "code_digest": code},
        "fingerprint": "f", "parameters": parameters or {"steps": 2}, "started": 1.0, "device": "cpu",
        "processes": 1, "seed": 1,
        "environment": {"python": python, "packages": {"torch": "2"}},
        "inputs": [{"name": path, "path": path, "type": "dataset", "role": "corpus"} for path in reads],
        "outputs": [{"name": path, "path": path, "type": kind, "role": "base"} for path in makes],
        "metrics": [] if accuracy is None else [{"name": "accuracy", "value": accuracy, "stderr": stderr}],
    }  # fmt: skip
    return LineageStage(LockedStage(name, "run", {**reads, f"{name}.py": code}, makes), Receipt.model_validate(receipt))


def verdict(recorded: list[LineageStage], made: list[LineageStage], max_drop: float | None = None):
    rules = {"base": {"accuracy": {"max_drop": max_drop}}} if max_drop is not None else {}
    again = {one.name: one for one in made}
    stages = [compare_stage(one, again.get(one.name), []) for one in recorded]
    return judge(SOURCE, recorded, again, stages, PromotionParameters.model_validate(rules))


def lineage(digest: str = "model.dir", accuracy: float = 0.8, stderr: float | None = 0.02, **changed):
    return [
        stage("pretrain", {"data/tokens": "tokens"}, {"models/base": digest}, **changed),
        stage("evaluate", {"models/base": digest}, {"reports/evaluate": f"of {digest}"}, kind="report",
              accuracy=accuracy, stderr=stderr),
    ]  # fmt: skip


def test_the_same_bytes_are_identical_whatever_else_differs():
    found = verdict(lineage(), lineage(accuracy=0.1, code="reformatted", python="3.12.1"))
    assert (found.verdict, found.stage, found.causes) == ("bit-identical", None, [])
    assert {difference.kind for difference in found.stages[0].differences} == {"code", "environment"}


def test_a_training_that_went_on_with_fewer_processes_is_named_as_the_cause():
    recorded, made = lineage(), lineage("model.other.dir")
    recorded[0].receipt.environment["processes"] = "2, from step 41 on 1"
    found = verdict(recorded, made)
    assert (found.verdict, found.stage) == ("equivalent", "pretrain")
    assert "environment: processes was 2, from step 41 on 1, is 1" in map(str, found.causes)


@pytest.mark.parametrize(
    ("made", "max_drop", "expected"),
    [
        (0.8, None, "equivalent"),
        (0.85, None, "equivalent"),  # 1.96 × √2 × 0.02 = 0.0554
        (0.86, None, "diverged"),
        (0.74, None, "diverged"),
        (0.74, 0.1, "equivalent"),
        (0.86, 0.01, "diverged"),
    ],
)
def test_other_bytes_by_the_same_recipe_are_judged_by_their_figures(made, max_drop, expected):
    found = verdict(lineage(), lineage("other.dir", made, python="3.12.1"), max_drop)
    assert (found.verdict, found.stage) == (expected, "pretrain")
    assert [str(cause) for cause in found.causes] == ["environment: python was 3.11.7, is 3.12.1"]


def test_without_a_stated_tolerance_nothing_is_equivalent():
    assert verdict(lineage(stderr=None), lineage("other.dir", stderr=None)).verdict == "diverged"


@pytest.mark.parametrize(
    ("changed", "cause"),
    [
        ({"code": "edited"}, "code: pretrain.py was code, is edited"),
        ({"parameters": {"steps": 3}}, "parameters: pretrain.steps was 2, is 3"),
    ],
)
def test_an_altered_recipe_makes_another_model_however_close_its_figures(changed, cause):
    found = verdict(lineage(), lineage("other.dir", **changed))
    assert (found.verdict, found.stage, [str(one) for one in found.causes]) == ("diverged", "pretrain", [cause])


def test_raw_data_is_part_of_the_recipe_and_what_lies_between_is_not():
    between = stage("tokenize", {"data/raw": "raw"}, {"data/tokens": "tokens"}, kind="dataset")
    unsteady = stage("tokenize", {"data/raw": "raw"}, {"data/tokens": "others"}, kind="dataset")
    altered = stage("tokenize", {"data/raw": "edited"}, {"data/tokens": "others"}, kind="dataset")
    after = lineage("other.dir")
    after[0] = stage("pretrain", {"data/tokens": "others"}, {"models/base": "other.dir"})
    found = verdict([between, *lineage()], [unsteady, *after])
    assert (found.verdict, found.stage, found.causes) == ("equivalent", "tokenize", [])
    found = verdict([between, *lineage()], [altered, *after])
    assert (found.verdict, found.stage) == ("diverged", "tokenize")
    assert [str(one) for one in found.causes] == ["input: data/raw was raw, is edited"]


def test_a_stage_that_failed_has_diverged():
    found = verdict(lineage(), [])
    assert (found.verdict, found.stage, found.made_digest) == ("diverged", "pretrain", None)
