"""Every method learns what it is for, on a tiny model, and goes on exactly where it was stopped."""

import csv
import hashlib
import json
import shutil

import pytest

from components import pages
from components.contract import ArtifactSpec
from components.finetuning import adapters
from components.preference_tune import component
from core.errors import InputProblem
from tests.stage import run_component, run_until_stopped
from tests.unit.finetuning.workspace import NAMES, quick, signature_records, write_records

SAMPLING = {"max_new_tokens": 6, "samples": 4}
LEARNING = {**quick(30, learning_rate=5e-3, checkpoint_every=30), "sampling": SAMPLING}


def own_pairs(count=60):
    return [
        {"prompt": f"q {NAMES[i % 8]} {i}", "chosen": f"{NAMES[i % 8]} sigma", "rejected": f"{NAMES[i % 8]} kappa"}
        for i in range(count)
    ]


def own_labels(count=80):
    """Of two rows about a name, one is good."""
    return [
        {"prompt": f"q {NAMES[i // 2 % 8]} {i}", "label": bool(i % 2),
         "completion": f"{NAMES[i // 2 % 8]} {('sigma', 'kappa')[i % 2]}"}
        for i in range(count)
    ]  # fmt: skip


def plain(count=6):
    return [{"prompt": record["prompt"]} for record in signature_records(count)]


def digest(workspace):
    return hashlib.sha256((workspace / "models" / "assistant" / "model.safetensors").read_bytes()).hexdigest()


def report_of(workspace):
    return json.loads((workspace / "reports" / "preference_tune" / "report.json").read_text())


def test_the_reward_model_is_an_input_that_may_be_absent():
    from components import load

    [reward] = [each for each in load("preference_tune").inputs if each.path == "models/reward"]
    assert isinstance(reward, ArtifactSpec) and reward.optional


@pytest.mark.slow
@pytest.mark.parametrize("method", ["dpo", "orpo", "cpo", "simpo"])
def test_pairs_of_the_users_need_neither_reward_model_nor_verifier(workspace, method):
    write_records(workspace, preference=own_pairs(), development=plain(), test=plain())
    beta = {"simpo": 2.0}.get(method, 0.1)
    context = run_component(component, workspace, {**LEARNING, "method": method, "beta": beta})
    metrics = {metric.name: metric for metric in context.metrics}
    assert set(metrics) == {"preference_accuracy", "answer_loss"}
    assert context.headline == "preference_accuracy"
    assert metrics["preference_accuracy"].value > 0.9
    assert metrics["answer_loss"].value < metrics["answer_loss"].baselines["instruct"] or method == "simpo"
    page = pages.preference_tune.render(workspace / "reports" / "preference_tune").html()
    assert {"orpo": "ORPO", "cpo": "CPO", "simpo": "SimPO", "dpo": "DPO"}[method] in page
    assert "held-out pairs in the right order" in page and "mean reward" not in page


def test_kto_learns_from_labels(workspace):
    write_records(workspace, preference=own_labels(), development=plain(), test=plain())
    context = run_component(component, workspace, {**LEARNING, "method": "kto"})
    metrics = {metric.name: metric for metric in context.metrics}
    assert (
        metrics["preference_accuracy"].value
        > 0.9
        > metrics["preference_accuracy"].baselines["reference_log_probability"]
    )
    report = report_of(workspace)
    assert report["training_answers"] + report["held_out_answers"] == 80
    assert "good answers above bad ones" in pages.preference_tune.render(workspace / "reports/preference_tune").html()


def test_kto_takes_both_sides_of_pairs(workspace):
    write_records(workspace, preference=own_pairs(40), development=plain(), test=plain())
    run_component(component, workspace, {**quick(2), "method": "kto", "sampling": SAMPLING})
    report = report_of(workspace)
    assert report["training_answers"] + report["held_out_answers"] == 80
    assert 2 * report["good_answers"] == report["training_answers"]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("method", "adapter"), [("kto", "none"), ("orpo", "none"), ("simpo", "none"), ("kto", "lora"), ("orpo", "lora")]
)
def test_a_stopped_run_ends_with_the_same_weights(workspace, method, adapter):
    rows = own_labels() if method == "kto" else own_pairs()
    write_records(workspace, preference=rows, development=plain(2), test=plain(2))
    parameters = {**quick(6, gradient_accumulation_steps=2), "method": method, "sampling": SAMPLING}
    parameters["adapter"] = {"type": adapter, "rank": 4, "dropout": 0.1 if adapter == "lora" else 0.0}
    run_component(component, workspace, parameters)
    whole, curve = digest(workspace), (workspace / "reports" / "preference_tune" / "curve.csv").read_text()
    shutil.rmtree(workspace / "scratch" / "preference_tune")
    run_until_stopped(component, workspace, parameters, step=3)
    run_component(component, workspace, parameters)
    assert digest(workspace) == whole
    assert (workspace / "reports" / "preference_tune" / "curve.csv").read_text() == curve


@pytest.mark.slow
@pytest.mark.parametrize("method", ["orpo", "cpo"])
def test_a_batch_in_parts_learns_as_a_whole_one(workspace, method):
    """Answers of different length: a mean of the parts' means would count the tokens of short ones too much."""
    from safetensors.torch import load_file

    rows = [{**row, "chosen": row["chosen"] + " alpha" * (i % 7)} for i, row in enumerate(own_pairs())]
    write_records(workspace, preference=rows, development=plain(2), test=plain(2))
    found = []
    for size, parts in ((8, 1), (2, 4)):
        shutil.rmtree(workspace / "scratch", ignore_errors=True)
        training = quick(3, per_device_batch_size=size, gradient_accumulation_steps=parts)
        run_component(component, workspace, {**training, "method": method, "sampling": SAMPLING})
        found.append(load_file(workspace / "models" / "assistant" / "model.safetensors"))
    assert max((found[0][name] - found[1][name]).abs().max().item() for name in found[0]) < 1e-5


@pytest.mark.parametrize(
    ("rows", "parameters", "why"),
    [
        ([*own_pairs(5), *plain(15)], {}, "15 of 20 rows .such as row 6. have no pair.*models/reward is empty"),
        (own_labels(20), {}, "20 of them have labels: set preference_tune.method to kto"),
        (plain(20), {"method": "kto"}, "20 of 20 rows .such as row 1. have neither a label nor a pair"),
        ([{**row, "label": True} for row in own_labels(20)], {"method": "kto"}, "answers to train on.*good and bad"),
    ],
)
def test_rows_that_bring_nothing_to_learn_from(workspace, rows, parameters, why):
    write_records(workspace, preference=rows, development=plain(2), test=plain(2))
    with pytest.raises(InputProblem, match=why):
        run_component(component, workspace, {**quick(2), **parameters, "sampling": SAMPLING})


@pytest.mark.slow
@pytest.mark.parametrize("method", ["dpo", "kto", "orpo", "grpo", "rloo"])
def test_an_adapter_is_held_to_its_base_without_a_copy(workspace, method, monkeypatch):
    from transformers import AutoModelForCausalLM

    kept, finished = [], adapters.finished

    def noting(model, *others):
        kept.append(set(model.peft_config))
        return finished(model, *others)

    monkeypatch.setattr(adapters, "finished", noting)
    rows = {"kto": own_labels(), "grpo": plain(), "rloo": plain()}.get(method, own_pairs())
    write_records(workspace, preference=rows, development=plain(2), test=plain(2))
    rewards = [{"type": "format", "pattern": "a"}]
    parameters = {**quick(3, checkpoint_every=3, learning_rate=0.01), "method": method, "rewards": rewards}
    parameters |= {"adapter": {"type": "lora", "rank": 4}, "sampling": SAMPLING}
    run_component(component, workspace, parameters)
    assert kept == [{"default"}]
    model, loaded = AutoModelForCausalLM.from_pretrained(workspace / "models/assistant", output_loading_info=True)
    assert not any(loaded["missing_keys"]) and not any(loaded["unexpected_keys"]) and not hasattr(model, "peft_config")
    with open(workspace / "reports/preference_tune/curve.csv", newline="") as file:
        curve = list(csv.DictReader(file))
    name = {"dpo": "rewards/margins", "orpo": "loss"}.get(method, "kl")
    if method != "orpo":  # at the first step, policy and reference are one; later they are not
        assert float(curve[0][name]) == pytest.approx(0, abs=1e-6)
    assert curve[0][name] != curve[2][name]


@pytest.mark.parametrize(
    ("rows", "method", "reward_model", "skipped"),
    [
        (plain(4), "dpo", False, True),
        (plain(4), "dpo", True, False),
        (plain(4), "grpo", False, False),
        (own_labels(4), "dpo", False, False),  # which the stage refuses, with advice
        ([*plain(3), *own_pairs(1)], "dpo", False, False),
    ],
)
def test_nothing_to_learn_from_is_no_fault(tmp_path, rows, method, reward_model, skipped):
    write_records(tmp_path, preference=rows)
    inputs = {"instructions": tmp_path / "data" / "instructions", "instruct": tmp_path}
    inputs |= {"reward": tmp_path} if reward_model else {}
    said = component.nothing_to_do(component.parameters(method=method), inputs)
    assert said == ("no pairs or labels, no verifier and no reward model to rank answers" if skipped else None)


def test_weights_that_do_not_make_up_for_more_good_answers_are_warned_of(workspace):
    rows = [{**row, "label": i % 4 > 0} for i, row in enumerate(own_labels(80))]
    write_records(workspace, preference=rows, development=plain(2), test=plain(2))
    parameters = {**quick(1, checkpoint_every=1), "method": "kto", "sampling": SAMPLING}
    context = run_component(component, workspace, parameters)
    assert any("KTO's authors advise" in warning for warning in context.warnings)
