"""Two processes that share each batch, over gloo, train as one process does."""

import csv
import functools
import json
import re
import shutil

import pytest
import torch
from safetensors.torch import load_file

import components
from tests.stage import run_component
from tests.unit.finetuning.workspace import make_workspace, quick, signature_records, write_model, write_records
from tests.unit.pretrain.forked import FINETUNING, Forked
from tests.unit.pretrain.launch_environment import launch_variables

pytestmark = pytest.mark.slow
ANSWERS = (" alpha", " beta gamma delta omega sigma", " theta alpha beta")
ONE = quick(3, per_device_batch_size=8, optimizer="adamw", checkpoint_every=3)
TWO = ONE | {"per_device_batch_size": 4, "devices": 2}
SAMPLING = {"max_new_tokens": 4, "samples": 2}
REWARD = {"sampling": SAMPLING, "optimizer": "muon", "checkpoint_every": 1}
STAGES = {
    "muon": ("instruct_finetune", {"generation": {"max_new_tokens": 4}, "optimizer": "muon"}, "instruct"),
    "lora": ("instruct_finetune", {"generation": {"max_new_tokens": 4}, "adapter": {"type": "lora"}}, "instruct"),
    "reward": ("reward_model", REWARD | {"evaluate_every": 1}, "reward"),
    "reward_lora": ("reward_model", REWARD | {"evaluate_every": 2, "adapter": {"type": "lora"}}, "reward"),
    "dpo": ("preference_tune", {"sampling": SAMPLING, "evaluate_every": 2}, "assistant"),
    "orpo": ("preference_tune", {"sampling": SAMPLING, "method": "orpo"}, "assistant"),
}


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A workspace with pairs of answers of very different lengths."""
    folder = make_workspace(tmp_path_factory.mktemp("made"))
    write_model(folder / "models/instruct")
    pairs = [{"prompt": row["prompt"], "chosen": ANSWERS[1 + place % 2], "rejected": ANSWERS[0], "group": str(place)}
             for place, row in enumerate(signature_records(40))]  # fmt: skip
    write_records(folder, reward=pairs, preference=pairs, instruct=signature_records(40),
                  development=signature_records(6, 400), test=signature_records(6, 500))  # fmt: skip
    return folder


def curve(workspace, stage):
    with open(workspace / f"reports/{stage}/curve.csv", newline="") as file:
        return [{name: float(value) for name, value in row.items() if value} for row in csv.DictReader(file)]


def together(stage, workspace, parameters, module="child", **environment):
    started = Forked(f"tests.unit.finetuning.{module}", [stage, str(workspace), json.dumps(parameters)], processes=2,
                     environment=environment, preloaded=FINETUNING)  # fmt: skip
    output, _ = started.communicate(timeout=300)
    assert started.returncode == 0, output[-4000:]
    return output


def sharded(stage, workspace, parameters):
    return together(
        stage, workspace, parameters | {"sharding": "fsdp2"}, "sharded_child", **launch_variables("fsdp2", 2)
    )


def assert_same(workspace, other, stage, model):
    for mine, theirs in zip(curve(workspace, stage), curve(other, stage), strict=True):
        assert mine["loss"] == pytest.approx(theirs["loss"], rel=1e-4)
        assert mine["grad_norm"] == pytest.approx(theirs["grad_norm"], rel=1e-3)
    weights, others = (load_file(each / f"models/{model}/model.safetensors") for each in (workspace, other))
    for name, value in weights.items():
        torch.testing.assert_close(value, others[name], rtol=1e-3, atol=1e-4)


@pytest.fixture(scope="module")
def alone(made, tmp_path_factory):
    """By name, the workspace in which one process has trained."""

    @functools.cache
    def trained(name):
        stage, own, _ = STAGES[name]
        workspace = shutil.copytree(made, tmp_path_factory.mktemp(name) / "one")
        run_component(components.load(stage), workspace, ONE | own)
        return workspace

    return trained


@pytest.fixture(scope="module")
def divided(made, tmp_path_factory):
    """By name, the workspace in which two processes with a part of the weights each have trained, and their output."""

    @functools.cache
    def trained(name):
        stage, own, _ = STAGES[name]
        workspace = shutil.copytree(made, tmp_path_factory.mktemp(name) / "two")
        return workspace, sharded(stage, workspace, TWO | own)

    return trained


@pytest.mark.parametrize("name", [name for name in STAGES if name != "reward_lora"])
def test_two_processes_train_as_one_does(made, alone, tmp_path, name):
    stage, own, model = STAGES[name]
    workspace = shutil.copytree(made, tmp_path / "two")
    together(stage, workspace, TWO | own)
    assert_same(workspace, alone(name), stage, model)


@pytest.mark.parametrize("name", ["muon", "lora", "reward", "reward_lora", "dpo"])
def test_two_processes_with_a_part_of_the_weights_each_train_as_one_does(alone, divided, name):
    stage, _, model = STAGES[name]
    workspace, output = divided(name)
    assert {round(float(share), 2) for share in re.findall(r"keeps (\S+) of the weights", output)} == {0.5}
    assert_same(workspace, alone(name), stage, model)


@pytest.mark.parametrize("name", ["reward", "reward_lora"])
def test_divided_weights_resume_to_the_last_bit(divided, tmp_path, name):
    stage, own, model = STAGES[name]
    workspace = shutil.copytree(divided(name)[0], tmp_path / "two")
    weights = (workspace / f"models/{model}/model.safetensors").read_bytes()
    shutil.rmtree(workspace / f"scratch/{stage}/checkpoints/step-0000000003")
    shutil.rmtree(workspace / f"models/{model}")
    sharded(stage, workspace, TWO | own)
    assert (workspace / f"models/{model}/model.safetensors").read_bytes() == weights
