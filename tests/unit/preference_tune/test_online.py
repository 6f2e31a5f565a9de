"""Online methods: what answers earn rises, a stop changes nothing, and a user's code runs only by its digest."""

import hashlib
import json
import shutil

import pytest
from pydantic import ValidationError

from components import pages
from components.preference_tune import PreferenceTuneParameters, component, own_reward
from components.preference_tune.online import _groups
from components.preference_tune.parameters import FormatReward, FunctionReward
from components.preference_tune.rewards import by_format
from core.errors import InputProblem
from tests.stage import run_component, run_until_stopped
from tests.unit.finetuning.workspace import quick, signature_records, write_records

SAMPLING = {"max_new_tokens": 6, "samples": 4}
SHORT = {"type": "format", "name": "short", "max_characters": 8}


def plain(count=8):
    return [{"prompt": record["prompt"]} for record in signature_records(count)]


def online(method="grpo", steps=20, **others):
    training = quick(steps, learning_rate=0.01, checkpoint_every=steps)
    return {"method": method, "sampling": SAMPLING, "rewards": [SHORT], "beta": 0.01, **training, **others}


def curve(workspace):
    return (workspace / "reports" / "preference_tune" / "curve.csv").read_text()


def digest(workspace):
    return hashlib.sha256((workspace / "models" / "assistant" / "model.safetensors").read_bytes()).hexdigest()


def column(workspace, name):
    rows = [line.split(",") for line in curve(workspace).splitlines()]
    return [float(row[rows[0].index(name)]) for row in rows[1:]]


@pytest.mark.slow
@pytest.mark.parametrize("method", ["grpo", "rloo"])
def test_what_answers_earn_rises(workspace, method):
    write_records(workspace, preference=plain(), development=plain(4), test=plain(4))
    wanted = {"type": "format", "name": "wanted", "pattern": "e"}
    batch = {"per_device_batch_size": 32, "learning_rate": 0.03, "sampling": {**SAMPLING, "samples": 16}}
    context = run_component(component, workspace, online(method, 12, rewards=[wanted], beta=0.001, **batch))
    reward = column(workspace, "reward")
    assert sum(reward[-3:]) / 3 > sum(reward[:3]) / 3 + 0.2
    assert column(workspace, "rewards/wanted/mean") == reward
    assert column(workspace, "completions/mean_length") and column(workspace, "entropy") and column(workspace, "kl")
    assert "step_time" not in curve(workspace)
    metrics = {metric.name: metric for metric in context.metrics}
    assert set(metrics) == {"earned_wanted", "development_earned_wanted"} and context.headline == "earned_wanted"
    assert metrics["earned_wanted"].value > metrics["earned_wanted"].baselines["instruct"]
    page = pages.preference_tune.render(workspace / "reports" / "preference_tune").html()
    assert method.upper() in page and "Rewards of greedy answers, before and after" in page
    assert "Training pairs" not in page and "held-out" not in page


@pytest.mark.slow
@pytest.mark.parametrize(("method", "adapter"), [("grpo", "none"), ("rloo", "none"), ("grpo", "lora")])
def test_a_stopped_run_draws_the_same_answers(workspace, method, adapter):
    write_records(workspace, preference=signature_records(8), development=plain(2), test=plain(2))
    parameters = online(method, 6, checkpoint_every=2, gradient_accumulation_steps=2)
    parameters["adapter"] = {"type": adapter, "rank": 4, "dropout": 0.1 if adapter == "lora" else 0.0}
    run_component(component, workspace, parameters)
    whole, points = digest(workspace), curve(workspace)
    assert len(set(column(workspace, "reward"))) > 1
    shutil.rmtree(workspace / "scratch" / "preference_tune")
    run_until_stopped(component, workspace, parameters, step=3)
    run_component(component, workspace, parameters)
    assert digest(workspace) == whole and curve(workspace) == points


def test_the_verifier_rewards_right_and_terse_answers_and_its_accuracy_is_a_curve(workspace):
    write_records(workspace, preference=signature_records(8), development=plain(2), test=signature_records(4))
    context = run_component(component, workspace, online(steps=2, rewards=[SHORT | {"weight": 0.5}]))
    assert column(workspace, "accuracy") == [0.0, 0.0] and context.headline == "correct_and_terse"
    with pytest.raises(InputProblem, match=r"development.jsonl: 2 of 2 rows .such as row 1. have no verifier"):
        run_component(component, workspace, online(steps=2, rewards=[{"type": "verifier"}]))
    with pytest.raises(InputProblem, match="models/reward is empty: run reward_model"):
        run_component(component, workspace, online(steps=2, rewards=[{"type": "reward_model"}]))


def test_pairs_are_not_used_and_long_questions_leave_no_room(workspace):
    rows = [{**row, "chosen": "alpha", "rejected": "beta"} for row in plain()]
    write_records(workspace, preference=rows, development=plain(2), test=plain(2))
    context = run_component(component, workspace, online(steps=1))
    assert any("8 of 8 rows bring pairs or labels, which grpo does not learn from" in w for w in context.warnings)
    with pytest.raises(InputProblem, match=r"row 1: question with an answer of sampling.max_new_tokens .90., of"):
        run_component(component, workspace, online(steps=1, sampling={**SAMPLING, "max_new_tokens": 90}))


OWN = """
def reward(records, answers):
    return [-len(answer) / 10 if record["prompt"] else 0 for record, answer in zip(records, answers, strict=True)]
"""


def own(workspace, text, path="data/raw/my_reward.py"):
    file = workspace / path
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text)
    return {"type": "function", "path": path, "sha256": hashlib.sha256(text.encode()).hexdigest()}


def test_a_users_own_function_is_learnt_from(workspace):
    write_records(workspace, preference=plain(), development=plain(2), test=plain(2))
    parameters = online(steps=1, rewards=[own(workspace, OWN)])
    assert component.check(component.parameters(**parameters), workspace, {}) == []
    context = run_component(component, workspace, parameters)
    assert -6 <= column(workspace, "rewards/function/mean")[0] < 0
    assert {metric.name for metric in context.metrics} == {"earned_function", "development_earned_function"}


@pytest.mark.parametrize(
    ("text", "change", "why"),
    [
        (OWN, {"sha256": "0" * 64}, "is not the file that sha256 names, and is not run.*set sha256 to [0-9a-f]{64}"),
        (OWN, {"path": "../outside.py"}, "outside the workspace"),
        (OWN, {"path": "data/raw/none.py"}, "no such file"),
        ("import nothing_of_this_name", {}, "cannot be run: ModuleNotFoundError"),
        ("def rewards(): pass", {}, "has no function `reward"),
        ("def reward(records, answers): return [1.0]", {}, "1 numbers for 2 answers"),
        ("def reward(records, answers): return [float('nan')] * 2", {}, "not finite"),
        ("def reward(records, answers): return records['a']", {}, "raised TypeError"),
    ],
)
def test_a_function_that_cannot_be_used_is_refused_in_a_sentence(tmp_path, text, change, why):
    root = tmp_path / "workspace"
    given = FunctionReward(**{**own(root, text), **change})
    (tmp_path / "outside.py").write_text(text)
    with pytest.raises(InputProblem, match=why):
        own_reward.load(root, given)([{"prompt": "q"}] * 2, ["a", "b"])
    if change:
        parameters = PreferenceTuneParameters(method="grpo", rewards=[given])
        assert component.check(parameters, root, {}) == [own_reward.problem(root, given)]


def test_rules_of_format():
    rule = FormatReward(pattern=r"^\d+$", min_characters=2, max_characters=3)
    assert [by_format(rule, answer) for answer in (" 12 \n", "1", "1234", "a12")] == [1.0, 0.0, 0.0, 0.0]


def test_each_step_holds_its_groups_once_for_each_part():
    assert _groups([0, 1, 2, 3], drawn=2, samples=2, parts=2) == [0, 0, 1, 1] * 2 + [2, 2, 3, 3] * 2


@pytest.mark.parametrize(
    ("wrong", "why"),
    [
        ({"method": "kto", "per_device_batch_size": 1}, "set it to 2 or more"),
        ({"method": "orpo", "beta": 0}, "beta is 0, with which orpo learns no preference"),
        ({"method": "grpo", "per_device_batch_size": 10}, "cannot be cut into groups of sampling.samples"),
        ({"method": "grpo", "rewards": [{"type": "format"}]}, "the reward format has no rule"),
        ({"method": "grpo", "rewards": [{"type": "format", "pattern": "("}]}, "no regular expression"),
        ({"method": "grpo", "rewards": [{"type": "verifier"}] * 2}, "several are called verifier"),
        ({"method": "grpo", "rewards": []}, "at least 1 item"),
        ({"rewards": [{"type": "function", "path": "a.py"}]}, "sha256"),
        ({"method": "ppo"}, "'dpo', 'kto'"),
    ],
)
def test_parameters_that_do_not_fit_together(wrong, why):
    with pytest.raises(ValidationError, match=why):
        PreferenceTuneParameters(**wrong)


def test_the_demonstration_reward_of_the_documentation_is_json(tmp_path):
    given = PreferenceTuneParameters(method="rloo", rewards=[own(tmp_path, OWN), SHORT])
    assert PreferenceTuneParameters(**json.loads(given.model_dump_json())) == given
