"""The stage as a whole on a tiny model."""

import hashlib
import json
import re
import shutil

import pytest
from pydantic import ValidationError

from components import pages
from components.contract import Context
from components.conversations import render
from components.finetuning.models import load_tokenizer
from components.preference_tune import PreferenceTuneParameters, component
from components.reward_model import component as reward_component
from core.errors import InputProblem
from tests.stage import lose_machine, run_component, run_until_stopped
from tests.unit.finetuning.workspace import quick, signature_records, write_records

SAMPLING = {"max_new_tokens": 6}


@pytest.fixture
def ready(workspace):
    """The workspace with a reward model."""
    run_component(reward_component, workspace, {**quick(2), "sampling": SAMPLING})
    return workspace


def digest(workspace):
    return hashlib.sha256((workspace / "models" / "assistant" / "model.safetensors").read_bytes()).hexdigest()


def test_it_learns_the_preferred_answers_and_says_what_it_cost(ready):
    from transformers import AutoModelForCausalLM

    parameters = {**quick(30, learning_rate=5e-3, checkpoint_every=30), "sampling": SAMPLING}
    context = run_component(component, ready, parameters)
    metrics = {metric.name: metric for metric in context.metrics}
    assert context.headline == "correct_and_terse"
    for name in ("correct_and_terse", "accuracy"):
        for variant in (name, f"{name}_sampled", f"development_{name}", f"development_{name}_sampled"):
            assert "instruct" in metrics[variant].baselines and metrics[variant].n == 24
    assert metrics["preference_accuracy"].value > 0.7
    assert {"reward", "reward_win_rate"} <= set(metrics)
    AutoModelForCausalLM.from_pretrained(ready / "models" / "assistant")
    report = ready / "reports" / "preference_tune"
    assert {"report.json", "curve.csv", "training.png"} == {path.name for path in report.iterdir()}
    page = pages.preference_tune.render(report).html()
    assert "The task, before and after" in page and "mean reward of greedy test answers" in page
    for path in [*report.iterdir(), *(ready / "models" / "assistant").iterdir()]:
        assert str(ready).encode() not in path.read_bytes()


def read_less(workspace, records):
    """Let the reward model read two tokens more than the shortest of these questions has; how many these are."""
    path = workspace / "models/reward/config.json"
    asked = render(load_tokenizer(path.parent), [[{"role": "user", "content": record["prompt"]}] for record in records])
    limit = min(map(len, asked)) + 2
    path.write_text(json.dumps(json.loads(path.read_text()) | {"max_position_embeddings": limit}))
    return limit


@pytest.mark.slow
def test_what_the_reward_model_does_not_read_is_counted_wherever_it_scores(ready):
    plain = [{"prompt": record["prompt"]} for record in signature_records(40)]
    longer = [{"prompt": record["prompt"]} for record in signature_records(6, start=10_000)]
    write_records(ready, preference=plain, development=longer, test=longer)
    quickly = {**quick(2), "sampling": {**SAMPLING, "samples": 4}}
    assert not any("reward model reads" in warning for warning in run_component(component, ready, quickly).warnings)
    limit = read_less(ready, plain)
    context = run_component(component, ready, quickly)
    said = [warning for warning in context.warnings if f"the {limit} tokens that the reward model reads" in warning]
    where = [("data/instructions/preference.jsonl, answers that are ranked", 160)]
    where += [(f"answers of {model}-{name}", 6)
              for model in ("instruct", "assistant") for name in ("development", "test")]  # fmt: skip
    for warning, (what, count) in zip(sorted(said), sorted(where), strict=True):
        assert re.match(rf"{what}: \d+ of {count} answers \(\d+\.\d%\) exceed, with their question, ", warning)
    report = json.loads((ready / "reports/preference_tune/report.json").read_text())
    assert set(said) <= set(report["warnings"])
    rewards = [{"type": "reward_model"}]
    shutil.rmtree(ready / "scratch/preference_tune")
    context = run_component(component, ready, {**quickly, "method": "grpo", "rewards": rewards})
    [drawn] = [warning for warning in context.warnings if warning.startswith("answers of training")]
    share = [line.split(",") for line in (ready / "reports/preference_tune/curve.csv").read_text().splitlines()]
    cut = sum(float(row[share[0].index("reward_model/cut")]) for row in share[1:]) * 8
    assert cut > 0 and f"answers of training: {cut:.0f} of 16 answers" in drawn


@pytest.mark.slow
@pytest.mark.parametrize("method", ["dpo", "grpo"])
def test_what_the_reward_model_does_not_read_is_counted_once_by_a_stage_that_was_killed(ready, monkeypatch, method):
    plain = [{"prompt": record["prompt"]} for record in signature_records(20)]
    longer = [{"prompt": record["prompt"]} for record in signature_records(6, start=10_000)]
    write_records(ready, preference=plain, development=longer, test=longer)
    read_less(ready, plain)
    parameters = {**quick(4), "sampling": {**SAMPLING, "samples": 4}, "method": method}
    parameters |= {"rewards": [{"type": "reward_model"}]} if method == "grpo" else {}
    whole = run_component(component, ready, parameters).warnings
    assert sum("tokens that the reward model reads" in warning for warning in whole) == 5
    shutil.rmtree(ready / "scratch/preference_tune")
    log = Context.log
    with monkeypatch.context() as patch:
        patch.setattr(Context, "log", lambda self, metrics, at: log(self, metrics, at) if at < 3 else 1 / 0)
        with pytest.raises(ZeroDivisionError):  # one step behind the checkpoint
            run_component(component, ready, parameters)
    assert run_component(component, ready, parameters).warnings == whole


def test_without_a_verifier_the_reward_model_ranks(ready):
    plain = [{"prompt": record["prompt"]} for record in signature_records(40)]
    write_records(ready, preference=plain, development=plain[:6], test=plain[:6])
    context = run_component(component, ready, {**quick(2), "sampling": SAMPLING})
    assert context.headline == "reward_win_rate"
    assert "The task" not in pages.preference_tune.render(ready / "reports" / "preference_tune").html()
    named = {metric.name for metric in context.metrics}
    assert named == {"preference_accuracy", "answer_loss", "reward", "reward_win_rate"}


def test_the_users_pairs_are_used_as_they_are(ready):
    own = [{"prompt": f"q{i}", "chosen": "alpha", "rejected": "beta"} for i in range(30)]
    write_records(ready, preference=own)
    run_component(component, ready, {**quick(2), "sampling": SAMPLING})
    report = json.loads((ready / "reports" / "preference_tune" / "report.json").read_text())
    assert report["training_pairs"] + report["held_out_pairs"] == 30


def test_a_stopped_run_ends_with_the_same_weights_on_another_machine(ready):
    import shutil

    parameters = {**quick(6), "sampling": SAMPLING}
    run_component(component, ready, parameters)
    whole = digest(ready)
    shutil.rmtree(ready / "scratch" / "preference_tune")
    run_until_stopped(component, ready, parameters, step=3)
    scratch = ready / "scratch" / "preference_tune"
    drawn = {name.removeprefix("beside/") for name in lose_machine(scratch) if name.startswith("beside/answers/")}
    run_component(component, ready, parameters)
    assert digest(ready) == whole
    assert drawn and not any((scratch / name).exists() for name in drawn), "no answer was drawn again"


def test_problems_of_all_files_come_together(ready):
    long = [{**signature_records(1)[0], "prompt": "word " * 200}]
    write_records(ready, preference=long, test=long)
    with pytest.raises(InputProblem) as caught:
        run_component(component, ready, quick(2))
    text = str(caught.value)
    assert "preference.jsonl, row 1" in text and "test.jsonl, row 1" in text


def test_losses_need_as_many_weights():
    with pytest.raises(ValidationError, match="one weight for each"):
        PreferenceTuneParameters(losses=("sigmoid",))


@pytest.mark.parametrize(
    ("wrong", "why"),
    [
        ({"checkpoint_every": 7, "log_every": 5}, "multiple of log_every"),
        ({"method": "grpo", "devices": 2}, "devices is 2; this stage trains on one device of one machine"),
        ({"method": "rloo", "nodes": 3}, "nodes is 3; this stage trains on one device of one machine"),
        ({"schedule": "wsd", "warmup_ratio": 0.9}, "more than the whole training"),
    ],
)
def test_training_parameters_that_do_not_fit_together(wrong, why):
    with pytest.raises(ValidationError, match=why):
        PreferenceTuneParameters(**wrong)
