"""The stage as a whole on a tiny model."""

import json

import pytest

from components import pages
from components.reward_model import component
from core.errors import InputProblem
from tests.stage import run_component
from tests.unit.finetuning.workspace import NAMES, quick, signature_records, write_records

TRAINING = quick(40, learning_rate=0.01, checkpoint_every=40)
SAMPLING = {"max_new_tokens": 6}


def test_users_pairs_are_learnt_and_measured_on_other_groups(workspace):
    from transformers import AutoModelForSequenceClassification

    pairs = [
        {"prompt": f"q {NAMES[i % 8]} {i}", "chosen": f"{NAMES[i % 8]} sigma", "rejected": f"{NAMES[i % 8]} kappa"}
        for i in range(120)
    ]
    write_records(workspace, reward=pairs)
    context = run_component(component, workspace, {**TRAINING, "sampling": SAMPLING})
    [metric] = context.metrics
    assert context.headline == metric.name == "accuracy"
    assert metric.value > 0.9 and metric.baselines["shorter_wins"] == 0.5
    model = AutoModelForSequenceClassification.from_pretrained(workspace / "models" / "reward")
    assert model.config.num_labels == 1
    report = json.loads((workspace / "reports" / "reward_model" / "report.json").read_text())
    assert report["training_pairs"] + report["held_out_pairs"] == 120
    page = pages.reward_model.render(workspace / "reports" / "reward_model").html()
    assert "all pairs" in page and "shorter_wins" in page and "reward difference" in page


def test_an_adapter_learns_with_the_head_and_is_merged_into_a_plain_classifier(workspace):
    from transformers import AutoModelForSequenceClassification

    from components.finetuning.models import load_reward_model

    pairs = [{"prompt": f"q {i}", "chosen": f"sigma {i % 9}", "rejected": f"kappa {i % 9}"} for i in range(40)]
    write_records(workspace, reward=pairs)
    training = quick(20, learning_rate=0.01, checkpoint_every=20)
    context = run_component(component, workspace, {**training, "adapter": {"type": "lora"}, "sampling": SAMPLING})
    assert context.metrics[0].value > 0.9
    model, loaded = AutoModelForSequenceClassification.from_pretrained(
        workspace / "models" / "reward", output_loading_info=True
    )
    assert not any(loaded["missing_keys"]) and not any(loaded["unexpected_keys"]) and model.config.num_labels == 1
    drawn = load_reward_model(workspace / "models" / "instruct", seed=1337)
    assert (model.score.weight - drawn.score.weight).abs().max() > 1e-4
    assert any((model.get_parameter(name) - weight).abs().max() > 1e-4
               for name, weight in drawn.named_parameters() if "q_proj" in name)  # fmt: skip


def test_a_model_that_gets_nothing_right_is_helped_by_the_rows_own_answers(workspace):
    context = run_component(component, workspace, {**quick(2), "sampling": SAMPLING})
    assert any("completions" in warning for warning in context.warnings)
    assert {"accuracy"} <= {metric.name for metric in context.metrics}


def test_the_same_inputs_give_the_same_bytes(workspace):
    def run():
        run_component(component, workspace, {**quick(2), "sampling": SAMPLING})
        outputs = [workspace / "models" / "reward", workspace / "reports" / "reward_model"]
        return {path: path.read_bytes() for folder in outputs for path in folder.iterdir()}

    import shutil

    first = run()
    shutil.rmtree(workspace / "scratch")
    assert run() == first
    assert not any(str(workspace).encode() in content for content in first.values())


def test_prompts_that_nothing_ranks_are_all_named(workspace):
    bare = [{"prompt": "why?"}, *signature_records(3), {"prompt": "how?"}]
    write_records(workspace, reward=bare)
    with pytest.raises(InputProblem) as caught:
        run_component(component, workspace, quick(2))
    assert [p.split("row ")[1].split(":")[0] for p in caught.value.problems] == ["1", "5"]


def test_pairs_of_one_group_cannot_be_split(workspace):
    rows = [{"prompt": "q", "group": "one", "chosen": f"a{i}", "rejected": f"b{i}"} for i in range(5)]
    write_records(workspace, reward=rows)
    with pytest.raises(InputProblem, match="more than one group"):
        run_component(component, workspace, quick(2))


def test_a_users_pair_that_does_not_fit_stops_the_stage(workspace):
    rows = [{"prompt": f"q{i}", "chosen": "word " * (200 if i == 3 else 1), "rejected": "no"} for i in range(20)]
    write_records(workspace, reward=rows)
    with pytest.raises(InputProblem, match="row 4"):
        run_component(component, workspace, quick(2))
