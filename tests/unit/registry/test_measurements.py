"""Which figures the gate may compare, and what it says where it may not."""

from __future__ import annotations

import pytest
from sqlalchemy import select

from core.errors import InputProblem
from registry.db.schema import ModelVersion
from registry.lineage.recording import record_execution
from registry.promotion.gate import Check, judge
from registry.promotion.measurements import Gap, counterpart, gaps, measurements
from registry.promotion.parameters import PromotionParameters, SigningParameters
from tests.tiny_decoder import save
from tests.unit.registry.conftest import item


@pytest.fixture
def versions(registry, finished):
    """Records versions, each measured as it is told: ``made`` by the stage that makes it, else by ``evaluate``."""

    def record(*figures: dict) -> list[ModelVersion]:
        with registry.write() as session:
            for number, figure in enumerate(figures, 1):
                figure = {"on": "c0", "made": False, "parameters": {}, "value": 0.5, "of": number} | figure
                corpus, model = item("corpus", figure["on"]), item("model", f"m{figure['of']}", "model", "base")
                metric = {
                    "name": "accuracy",
                    "value": figure["value"],
                    "higher_is_better": True,
                    "eval_set": "corpus",
                }
                told = {"parameters": figure["parameters"], "seed": figure.get("seed", 1), "started": number}
                own = [metric] if figure["made"] else []
                record_execution(session, finished("pretrain", [corpus], [model], own, **told))
                if not figure["made"]:
                    read = [item("model", f"m{figure['of']}", "model"), corpus]
                    record_execution(session, finished("evaluate@base", read, [], [metric], **told))
        with registry.read() as session:
            yielded = session.scalars(select(ModelVersion).order_by(ModelVersion.version)).all()
            session.expunge_all()
            return list(yielded)

    return record


def both(registry, versions):
    """(the candidate's figure, the champion's figure it may be compared with, what would have to be measured)."""
    champion, candidate = versions
    with registry.read() as session:
        mine = measurements(session, candidate, "accuracy")[-1]
        return mine, counterpart(session, mine, champion, "accuracy"), gaps(session, candidate, champion, ["accuracy"])


@pytest.mark.parametrize(
    "second",
    [{"on": "c1"}, {"parameters": {"limit": 5}}, {"seed": 2}],
    ids=["evaluation set", "parameters", "seed"],
)
def test_what_a_stage_reads_is_measured_again_where_anything_differs(registry, versions, second):
    _, other, lacking = both(registry, versions({"parameters": {"limit": 1}}, {"parameters": {"limit": 1}} | second))
    assert other is None and lacking == [Gap("evaluate@base", "data/model")]


def test_alike_figures_are_compared(registry, versions):
    _, other, lacking = both(registry, versions({"value": 0.4}, {"value": 0.6}))
    assert other.value == 0.4 and lacking == []


def test_the_newest_figure_counts(registry, versions):
    champion, candidate = versions({"value": 0.4}, {"value": 0.6}, {"of": 2, "value": 0.7, "parameters": {"limit": 9}})
    with registry.read() as session:
        assert [each.value for each in measurements(session, candidate, "accuracy")] == [0.6, 0.7]
        assert gaps(session, candidate, champion, ["accuracy"])  # 0.6 could be compared, but it is not the newest


def test_what_a_stage_makes_may_have_other_parameters(registry, versions):
    first, second = {"made": True, "value": 0.4}, {"made": True, "value": 0.6, "parameters": {"steps": 2}}
    _, other, lacking = both(registry, versions(first, second))
    assert other.value == 0.4 and lacking == []


def test_what_a_stage_makes_cannot_be_measured_on_another_set(registry, versions, tmp_path):
    champion, candidate = versions({"made": True}, {"made": True, "on": "c1"})
    save(tmp_path / "files", 1.0)
    rules = PromotionParameters.model_validate({"base": {"accuracy": {"max_drop": 0.0}}})
    signed = Check("signatures valid", True, "")
    with registry.read() as session:
        assert gaps(session, candidate, champion, ["accuracy"]) == []
        verdict = judge(session, candidate, champion, "champion", rules, tmp_path / "files", {}, signed)
    (told,) = [check for check in verdict.checks if "against" in check.name]
    assert not told.passed
    assert (
        "pretrain measures only the model it makes, so base:1 cannot be measured again without training" in told.detail
    )
    assert "set promotion.base.accuracy.max_drop to null" in told.detail and "--force" in told.detail


def test_the_identity_of_a_sigstore_signature_has_to_be_named(tmp_path):
    (tmp_path / "params.yaml").write_text("signing: {method: sigstore, identity: ci@example.org}\n")
    with pytest.raises(InputProblem, match=r"signing: .*set both"):
        SigningParameters.load(tmp_path)
    (tmp_path / "params.yaml").write_text("seed: 1\n")
    assert SigningParameters.load(tmp_path).method == "key"
