"""The training stages of a workspace, as far as its inputs are there."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
from ruamel.yaml import YAML

import components
from components.harness import libraries
from components.planning import command, flops, stages
from components.planning.decoder import read
from components.planning.options import Options
from flows.pipeline.planning import Planner, sentence, training_data
from tests.unit.pretrain import tiny

ROOT = Path(__file__).resolve().parents[3]
PARAMETERS = {"pretrain": tiny.PARAMETERS, "instruct_finetune": {"steps": 20, "per_device_batch_size": 8}}


@pytest.fixture(scope="module")
def workspace(tmp_path_factory) -> Path:
    """Tokens and tokenizer of a tiny corpus, and some records."""
    folder = tiny.tokens(tmp_path_factory.mktemp("stages"))
    shutil.copy(ROOT / "dvc.yaml", folder)
    with open(folder / "params.yaml", "w") as file:
        YAML().dump(PARAMETERS, file)
    (folder / "data/instructions").mkdir()
    rows = [{"prompt": "What is the default?", "completion": "None " * n} for n in range(1, 21)]
    (folder / "data/instructions/instruct.jsonl").write_text("\n".join(map(json.dumps, rows)) + "\n")
    return folder


def test_pretraining_by_steps_tokens_and_epochs(workspace):
    by_steps = stages.work("pretrain", PARAMETERS, workspace)
    assert by_steps.tokens == 80 * 6 * 32 and by_steps.config.vocab_size == 384
    budget = {**tiny.PARAMETERS, "steps": None, "tokens": 1000}
    assert stages.work("pretrain", {"pretrain": budget}, workspace).steps == 6  # 192 tokens a step
    index = json.loads((workspace / "data/tokens/index.json").read_text())
    epochs = stages.work("pretrain", {"pretrain": {**tiny.PARAMETERS, "steps": None, "epochs": 2}}, workspace)
    assert epochs.tokens == pytest.approx(2 * index["splits"]["train"]["tokens"], rel=0.02)
    assert epochs.stored_tokens == sum(split["tokens"] for split in index["splits"].values())


def test_a_batch_ramp_and_devices_are_taken_over(workspace):
    changed = {
        **tiny.PARAMETERS,
        "batch_ramp_start": 2,
        "batch_ramp_tokens": 3000,
        "per_device_batch_size": 3,
        "devices": 2,
    }
    work = stages.work("pretrain", {"pretrain": changed}, workspace)
    assert work.tokens < 80 * 6 * 32
    assert work.sharding == "ddp" and work.processes == 2


def test_before_there_is_a_corpus(tmp_path):
    work = stages.work("pretrain", {**PARAMETERS, "tokenize": {"vocabulary_size": 777}}, tmp_path)
    assert work.config.vocab_size == 777
    with pytest.raises(stages.Unknown, match="tokenize"):
        stages.work("pretrain", {"pretrain": {**tiny.PARAMETERS, "steps": None, "epochs": 1}}, tmp_path)
    with pytest.raises(stages.Unknown, match="run the tokenize stage first"):
        stages.work("instruct_finetune", PARAMETERS, tmp_path)


def test_instruction_tuning_counts_a_sample_of_the_records(workspace):
    work = stages.work("instruct_finetune", PARAMETERS, workspace)
    assert work.steps == 20 and work.loss == "whole"
    assert 20 * 8 * 5 < work.tokens <= 20 * 8 * work.context
    with pytest.raises(stages.Unknown, match="curate"):
        stages.work("classify_finetune", {**PARAMETERS, "classify_finetune": {"seq_length": None}}, workspace)


def test_before_there_are_records_each_counts_as_the_longest(workspace):
    work = stages.work("classify_finetune", {**PARAMETERS, "classify_finetune": {"seq_length": 50}}, workspace)
    assert work.tokens == 50 * work.sequences * work.steps and "counts as seq_length, 50 tokens" in work.notes[-1]


def test_under_an_adapter_the_base_has_no_gradients_and_is_its_own_reference(workspace):
    pairs = workspace / "data/instructions/preference.jsonl"
    pairs.write_text('{"prompt": "What is it?", "chosen": "A test.", "rejected": "Nothing."}\n')
    for adapter, passes in (({"type": "none"}, 4 / 3), ({"type": "lora"}, 1.0)):
        work = stages.work("preference_tune", {**PARAMETERS, "preference_tune": {"adapter": adapter}}, workspace)
        assert work.passes == pytest.approx(passes)
    values = {**PARAMETERS, "instruct_finetune": {**PARAMETERS["instruct_finetune"], "adapter": {"type": "lora"}}}
    assert stages.work("instruct_finetune", values, workspace).passes == pytest.approx(2 / 3)
    pairs.unlink()


@pytest.mark.parametrize(
    ("parameters", "reference", "passes", "sides"),
    [
        ({"method": "dpo"}, True, 4 / 3, 2),
        ({"method": "orpo"}, False, 1, 2),
        ({"method": "simpo", "beta": 2.0}, False, 1, 2),
        ({"method": "kto"}, True, 2, 1),
        ({"method": "grpo", "beta": 0.1}, True, 4 / 3, 1),
        ({"method": "grpo", "beta": 0.0}, False, 1, 1),
    ],
)
def test_a_frozen_copy_is_counted_for_the_methods_that_have_one(workspace, parameters, reference, passes, sides):
    pairs = workspace / "data/instructions/preference.jsonl"
    pairs.write_text('{"prompt": "What is it?", "chosen": "A test.", "rejected": "Nothing.", "label": true}\n')
    parameters = {**parameters, "per_device_batch_size": 8, "sampling": {"samples": 4}}
    work = stages.work("preference_tune", {**PARAMETERS, "preference_tune": parameters}, workspace)
    assert (work.frozen_copy, work.passes, work.sequences) == (reference, pytest.approx(passes), 8 * sides)
    pairs.unlink()


def test_epochs_are_of_all_records_not_of_the_sample(workspace, monkeypatch):
    monkeypatch.setattr(stages, "SAMPLE", 10)
    tuned = {"steps": None, "epochs": 2, "per_device_batch_size": 8}
    work = stages.work("instruct_finetune", {**PARAMETERS, "instruct_finetune": tuned}, workspace)
    assert work.steps == 5  # 2 * 20 / 8


def test_a_last_run_here_says_how_fast_it_goes(workspace):
    """Twice the steps take twice the time of the last run, whatever it was spent on."""
    import os

    receipt = {
        "device": "cpu", "environment": {"cpus": os.cpu_count()}, "processes": 1, "seconds": 50.0,
        "parameters": {**tiny.PARAMETERS, "steps": 40},
    }  # fmt: skip
    rate = command._last_rate("pretrain", receipt, PARAMETERS, workspace, 1)
    work = stages.work("pretrain", PARAMETERS, workspace)
    assert flops.training(read(work.config), work.context, work.tokens) / rate == pytest.approx(100.0)
    for change in ({"device": "NVIDIA H100"}, {"processes": 2}, {"parameters": {"gone": 1}}, {"environment": {}}):
        assert command._last_rate("pretrain", {**receipt, **change}, PARAMETERS, workspace, 1) is None


def test_after_a_run_the_speed_is_its_and_the_memory_still_counts_the_heap(workspace, monkeypatch):
    import os

    receipt = {
        "device": "cpu", "environment": {"cpus": os.cpu_count()}, "processes": 1, "seconds": 100.0,
        "parameters": PARAMETERS["pretrain"],
    }  # fmt: skip
    (workspace / "receipts").mkdir(exist_ok=True)
    (workspace / "receipts/pretrain.json").write_text(json.dumps(receipt))
    monkeypatch.chdir(workspace)
    # The heap of a process that has run other tests says nothing; as if the probe had found a gigabyte in use.
    measure = command.probe.measure
    monkeypatch.setattr(command.probe, "measure", lambda *a, **o: replace(measure(*a, **o), peak_bytes=1_000_000_000))
    (plan,) = command.plans(Options(device="cpu"), ["pretrain"])["plans"]
    assert plan["time"]["seconds"] == pytest.approx(100.0) and plan["calibration"] is None
    memory = plan["memory"][0]
    assert memory["allocator_bytes"] > 900_000_000 and memory["total_bytes"] == 1_000_000_000


def test_all_stages_at_once_plan_what_can_be(workspace, monkeypatch):
    monkeypatch.chdir(workspace)
    answer = command.plans(Options(device="h100", price=2.0))
    assert [plan["name"] for plan in answer["plans"]] == ["pretrain", "classify_finetune", "instruct_finetune"]
    assert {each["stage"] for each in answer["skipped"]} == {"reward_model", "preference_tune"}
    pretrain = answer["plans"][0]
    assert pretrain["device"]["name"] == "h100" and pretrain["cost"]["money"] > 0
    assert pretrain["scaling"] and answer["plans"][1]["scaling"] is None


@pytest.mark.slow
def test_a_run_s_stages_are_planned_one_after_the_other_until_the_run_ends(workspace, tmp_path, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    prefork = libraries.prefork(["pretrain"])
    planner = Planner(workspace, tmp_path / "plans", prefork)
    asked = [planner.plan(stage, 120) for stage in ("pretrain", "no such stage", "instruct_finetune")]
    first, none, last = (each.ready() for each in asked)
    assert first["name"] == "pretrain" and none is None and last["name"] == "instruct_finetune"
    assert "parameters" in sentence(last)
    unfinished = planner.plan("pretrain", 0)
    planner.close()
    assert unfinished.ended and unfinished.ready() is None, "a plan that is not made is left out"
    assert planner.plan("pretrain", 120).ready() is None
    prefork.close()
    late = Planner(workspace, tmp_path / "late", prefork)
    assert late.plan("pretrain", 120).ready()["name"] == "pretrain", "started where it cannot be forked"


def test_stages_of_different_precisions_are_planned_in_one_process(workspace, tmp_path, monkeypatch):
    """accelerate keeps one precision for the whole process; each stage is measured in its own."""
    shutil.copytree(workspace, tmp_path / "both", symlinks=True)
    monkeypatch.chdir(tmp_path / "both")
    values = {**PARAMETERS, "pretrain": {**tiny.PARAMETERS, "precision": "bf16"}}
    with open("params.yaml", "w") as file:
        YAML().dump(values, file)
    shutil.rmtree("receipts", ignore_errors=True)
    options = Options(device="cpu")
    wanted = ["pretrain", "instruct_finetune", "pretrain"]
    found = [command.plans(options, [stage], seconds=0)["plans"][0] for stage in wanted]
    assert [plan["device"]["precision"] for plan in found] == ["bf16", "fp32", "bf16"]
    assert all(plan["calibration"]["steps"] >= 3 for plan in found)


def test_what_a_stage_trains_on_is_read_off_its_declaration():
    found = {stage: training_data(stage) for stage in components.STAGES}
    assert {stage for stage, data in found.items() if data is not None} == set(stages.STAGES)
    assert found["pretrain"] == Path("data/tokens") and found["reward_model"] == Path("data/instructions")
    assert training_data("evaluate@base") is None and training_data("a_stage_of_their_own") is None
