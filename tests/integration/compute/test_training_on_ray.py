"""Trainings and an evaluation on the two nodes of a real Ray cluster: what one process makes, whatever is killed."""

from __future__ import annotations

import csv
import json
import re
import shutil
import sys
import textwrap
import time
from pathlib import Path

import boto3
import numpy as np
import pytest
from mlflow import MlflowClient

from components import compute
from components.compute import Compute, driver, elastic, replicas
from components.compute.node import versions
from components.compute.replicas import Replicas
from components.engine.connection import connected
from components.evaluate import component as evaluate
from components.finetuning import rewards, sampling
from components.finetuning.models import load_reward_model, load_tokenizer, save
from components.generation import generate
from components.preference_tune import component as preference_tune
from components.pretrain import component
from components.pretrain.parameters import PretrainParameters
from core import parameters_file
from core.errors import InputProblem
from tests.s3 import environment, storage  # noqa: F401  (a fixture)
from tests.stage import run_component
from tests.unit.evaluate import conftest as evaluation
from tests.unit.finetuning import workspace as finetuning
from tests.unit.finetuning.workspace import save_model
from tests.unit.pretrain import tiny
from tests.workspace import Workspace, make_workspace, wait_until

STEPS = 24
# Without dropout, of which each process draws its own.
CHANGES = {
    "architecture": tiny.PARAMETERS["architecture"] | {"extra": {}}, "steps": STEPS, "evaluate_every": STEPS,
    "learning_rate": 0.003,
}  # fmt: skip


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> Path:
    return tiny.tokens(tmp_path_factory.mktemp("made"))


@pytest.fixture(scope="module")
def bucket(storage):  # noqa: F811
    """A client of an object store that has the bucket ``travel``."""
    with pytest.MonkeyPatch.context() as patch:
        for name, value in environment(storage).items():
            patch.setenv(name, value)
        client = boto3.client("s3")
        client.create_bucket(Bucket="travel")
        yield client


@pytest.fixture(scope="module")
def cluster(bucket, cluster):
    """The cluster, whose nodes were started with access to the store."""
    return cluster


@pytest.fixture(scope="module")
def template(tmp_path_factory, made, cluster) -> Workspace:
    """A workspace in which pretrain takes two nodes of the cluster."""
    workspace = make_workspace(tmp_path_factory.mktemp("template") / "workspace")
    for part in ("data/tokens", "models/tokenizer"):
        shutil.copytree(made / part, workspace.root / part)
    asked = tiny.PARAMETERS | CHANGES | {"nodes": 2, "per_device_batch_size": 3}
    sections = {f"pretrain.{name}": value for name, value in asked.items()}
    where = {"compute.pretrain": {"kind": "ray", "address": cluster.address}}
    # Once for all: MLflow's migrations of a new database take as long as such a stage.
    workspace.home.mkdir()
    MlflowClient(f"sqlite:///{workspace.home / 'mlflow.db'}").search_experiments()
    parameters_file.write(workspace.root / "params.yaml", {**sections, **where})
    return workspace


@pytest.fixture(scope="module")
def undisturbed(template, tmp_path_factory) -> Workspace:
    workspace = template.copy_to(tmp_path_factory.mktemp("undisturbed") / "workspace")
    workspace.stage("pretrain")
    return workspace


@pytest.fixture(scope="module")
def alone(made, tmp_path_factory) -> Path:
    """What one process makes of the same parameters."""
    folder = tiny.beside(tmp_path_factory.mktemp("alone"), made)
    tiny.finish(tiny.start(folder, **CHANGES))
    return folder


def losses(root: Path) -> np.ndarray:
    with open(root / "reports/pretrain/curve.csv") as file:
        return np.array([float(row["loss"]) for row in csv.DictReader(file)])


def tree(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def receipt(workspace: Workspace) -> dict:
    return json.loads((workspace.root / "receipts/pretrain.json").read_text())


@pytest.mark.nightly  # two nodes train below too, and one of them is killed
def test_two_nodes_train_as_one_process_does(undisturbed, alone):
    np.testing.assert_allclose(losses(undisturbed.root), losses(alone), rtol=2e-4)
    assert receipt(undisturbed)["processes"] == 2 and len(receipt(undisturbed)["attempts"]) == 1
    points = [event for event in events(undisturbed) if event["kind"] == "point" and "loss" in event["metrics"]]
    assert [event["step"] for event in points] == [*range(5, STEPS, 5), STEPS], "the curve came here by the event log"


def keys(bucket) -> list[str]:
    return [each["Key"] for each in bucket.list_objects_v2(Bucket="travel").get("Contents", [])]


def test_files_travel_by_the_store_and_a_killed_node_changes_no_byte(undisturbed, template, cluster, bucket, tmp_path):
    workspace = template.copy_to(tmp_path / "workspace")
    parameters_file.write(workspace.root / "params.yaml", {"compute.pretrain.storage": "s3://travel/here"})
    stage = workspace.start(sys.executable, "-m", "components", "pretrain")

    def there() -> bool:
        assert stage.poll() is None, (tmp_path / "workspace.python.log").read_text()
        return any(re.search(r"here/checkpoints/pretrain/.*/step-\d+-\w+\.json", key) for key in keys(bucket))

    wait_until(there, 120, "a checkpoint in the store")
    assert not list(workspace.home.glob("scratch/pretrain/*/checkpoints")), "nothing is written here meanwhile"
    cluster.kill(1)
    cluster.join()
    assert stage.wait(240) == 0, (tmp_path / "workspace.python.log").read_text()
    for part in ("models/base", "reports/pretrain"):
        assert tree(workspace.root / part) == tree(undisturbed.root / part)
    assert not [key for key in keys(bucket) if "/checkpoints/" in key], "what is published needs no checkpoint"
    disks = {path.parents[2].name for path in cluster.folder.glob("node-*/stemma-*/files/*") if path.name != "lock"}
    assert len(disks) == 3, "each node fetched the inputs to its own disk, also the one that joined"
    (warning,) = receipt(workspace)["warnings"]
    assert "was lost while pretrain ran on it; started again from its checkpoint" in warning
    steps = [event["step"] for event in events(workspace) if event["kind"] == "point" and "loss" in event["metrics"]]
    assert len(steps) < 2 * len(set(steps)), "it went on from a checkpoint"


def events(workspace: Workspace) -> list[dict]:
    (log,) = workspace.home.glob("scratch/pretrain/*/tracking/events.jsonl")
    return [json.loads(line) for line in log.read_text().splitlines()]


@pytest.mark.nightly  # copies that draw answers are asked and killed below
def test_copies_on_the_nodes_are_asked_and_one_that_is_killed_changes_no_byte(cluster, bucket, tmp_path, monkeypatch):
    """An evaluation, and the same one with its batches worked on by the cluster."""
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    train = [text for text, _, _ in evaluation.paragraphs(textwrap)]
    evaluation.write_corpus(tmp_path / "data/corpus", {"train": evaluation.paragraphs(textwrap),
                                                       "test": evaluation.paragraphs(json)[:4]})  # fmt: skip
    evaluation.write_instructions(tmp_path / "data/instructions", {"test": evaluation.questions(shutil)[:24]})
    save_model(tmp_path / "models/instruct", train)
    asked = {"lm_eval": {"limit": 6, "batch_size": 4}, "answers": {"max_new_tokens": 4, "batch_size": 4},
             "samples": {"prompts": []}}  # fmt: skip
    report = tmp_path / "reports/evaluate-instruct"
    run_component(evaluate, tmp_path, asked, instance="instruct")
    expected = tree(report)
    shutil.rmtree(report)
    where = Compute(kind="ray", address=cluster.address, storage="s3://travel/models")
    copies, killed = Replicas(where, "evaluate"), []

    def spread(load, folder, function, shares):
        def given():
            for number, share in enumerate(shares):
                if number == 2 and not killed:
                    killed.append(cluster.workers()[0])
                    killed[0].kill()
                yield share

        return copies.run(load, folder, function, given())

    try:
        run_component(evaluate, tmp_path, asked, instance="instruct", spread=spread)
    finally:
        copies.close()
    assert killed and copies.hosts and tree(report) == expected


PARTS = ("models/assistant", "reports/preference_tune")
ANSWERS = "scratch/preference_tune/answers"
ASKED = finetuning.quick(2) | {"sampling": {"max_new_tokens": 6, "samples": 4, "batch_size": 4}}


@pytest.fixture(scope="module")
def preferred(tmp_path_factory) -> Path:
    """A workspace in which one process has drawn answers, tuned a model on them and drawn its answers."""
    folder = tmp_path_factory.mktemp("preferred")
    finetuning.make_workspace(folder)
    finetuning.write_model(folder / "models/instruct")
    save(load_reward_model(folder / "models/instruct", seed=1), load_tokenizer(folder / "models/instruct"),
         folder / "models/reward")  # fmt: skip
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("OMP_NUM_THREADS", "1")
        run_component(preference_tune, folder, ASKED)
    return folder


def test_copies_draw_answers_beside_the_stage_and_one_that_is_killed_changes_no_byte(
    preferred, cluster, bucket, tmp_path, monkeypatch
):
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    for part in ("data", "models/instruct", "models/reward"):
        shutil.copytree(preferred / part, tmp_path / part)
    # One copy at a time, on the first node: to start one takes seconds of a processor.
    where = Compute(kind="ray", address=cluster.address, storage="s3://travel/models", labels={"number": "0"})
    copies, killed = Replicas(where, "preference_tune"), []

    def slowly(*args):
        """What this process draws: little before the copies have drawn something."""
        if not killed:
            wait_until(cluster.at_work, 60, "a copy at work")
            killed.append(cluster.at_work()[0])
            killed[0].kill()
        if not copies.hosts:
            time.sleep(1)
        return generate(*args)

    monkeypatch.setattr(sampling, "generate", slowly)
    try:
        with (
            monkeypatch.context() as patch,
            pytest.raises(InputProblem, match=r"has torch .*, not 0: install the same"),
        ):
            patch.setattr(replicas, "versions", lambda: versions() | {"torch": "0"})
            run_component(preference_tune, tmp_path, ASKED, help=copies.help)
        assert not (tmp_path / ANSWERS).exists(), "nothing was done"
        context = run_component(preference_tune, tmp_path, ASKED, help=copies.help)
        assert killed and copies.hosts
        scored_by_copies(context, copies, monkeypatch)
    finally:
        copies.close()
    for part in (*PARTS, ANSWERS):
        assert tree(tmp_path / part) == tree(preferred / part)


def scored_by_copies(context, copies: Replicas, monkeypatch) -> None:
    """The reward model's batches are shared in the same way."""
    monkeypatch.setattr(rewards, "_ROWS", 4)  # the questions are too few for two batches
    scored, drawn = rewards._scored, sum(copies.hosts.values())
    records = finetuning.signature_records(240)
    given = records, [record["completion"] for record in records]
    rewarder = rewards.load_rewarder(context.inputs["reward"], context.seed)
    expected = rewarder(*given)

    def slowly(*args):
        """What this process scores: little before a copy has scored something."""
        if sum(copies.hosts.values()) == drawn:
            time.sleep(1)
        return scored(*args)

    monkeypatch.setattr(rewards, "_scored", slowly)
    assert rewards.with_copies(context, rewarder, context.inputs["reward"])(*given) == expected
    assert sum(copies.hosts.values()) > drawn


@pytest.mark.nightly  # a training on a node, and copies beside one, are above
def test_a_preference_tuning_on_a_node_asks_the_rest_of_the_cluster(preferred, template, cluster, tmp_path):
    workspace = template.copy_to(tmp_path / "workspace")
    for part in ("data/instructions", "models/instruct", "models/reward"):
        shutil.copytree(preferred / part, workspace.root / part)
    sections = {f"preference_tune.{name}": value for name, value in ASKED.items()}
    where = {"compute.preference_tune": {"kind": "ray", "address": cluster.address}}
    parameters_file.write(workspace.root / "params.yaml", {**sections, **where})
    workspace.stage("preference_tune")
    for part in PARTS:
        assert tree(workspace.root / part) == tree(preferred / part)
    found = json.loads((workspace.root / "receipts/preference_tune.json").read_text())["environment"]
    assert re.fullmatch(r"ray, (\d+ by [0-9.]+, )?\d+ by the process itself", found["copies"])
    assert sum(map(int, re.findall(r"(\d+) by", found["copies"]))) == 92, "every batch of answers and of rewards once"


def problems(address: str, **changes) -> list[str]:
    parameters = PretrainParameters(**({"devices": 1, "nodes": 2} | changes))
    return compute.problems(component, Compute(kind="ray", address=address), parameters, {})


def test_more_nodes_than_there_are_and_a_cluster_that_is_not_there_are_named(cluster):
    assert problems(cluster.address) == []
    (problem,) = problems(cluster.address, nodes=5)
    assert problem.startswith("params.yaml: compute.pretrain: pretrain needs 5 nodes with 1 CPU each")
    (problem,) = problems("127.0.0.1:1")
    assert problem.startswith("params.yaml: compute.pretrain: no Ray cluster answers at 127.0.0.1:1 ")


def test_after_a_fault_a_training_takes_the_largest_number_of_nodes_that_there_is_room_for(cluster, monkeypatch):
    from ray.util.placement_group import placement_group, remove_placement_group

    monkeypatch.setenv(elastic.WAIT, "0")
    where = Compute(kind="ray", address=cluster.address, min_nodes=1)
    order = {"component": "pretrain", "nodes": 3, "parameters": {"nodes": 3, "devices": 1, "per_device_batch_size": 2},
             "checkpoint": "step-0000000008"}  # fmt: skip
    ray = connected(cluster.address, "here")
    try:
        both = driver._group(ray, order, where, {"CPU": 1}, lambda: False)
        assert both.bundle_count == 2
        remove_placement_group(both)
        other = placement_group([{"CPU": 1}])
        assert other.wait(30) and driver._group(ray, order, where, {"CPU": 1}, lambda: False).bundle_count == 1
    finally:
        ray.shutdown()


@pytest.mark.nightly  # what it adds to the tests of processes and of a killed node takes two trainings
def test_a_node_that_does_not_come_back_is_done_without(undisturbed, alone, template, made, cluster, bucket, tmp_path):
    """The last test of this cluster, which it leaves with one node."""
    workspace, longer = template.copy_to(tmp_path / "workspace"), {"steps": 200, "evaluate_every": 200}
    where = {"compute.pretrain.min_nodes": 1, "compute.pretrain.storage": "s3://travel/elastic"}
    asked = {f"pretrain.{name}": value for name, value in longer.items()}
    parameters_file.write(workspace.root / "params.yaml", asked | where)
    stage = workspace.start(sys.executable, "-m", "components", "pretrain", STEMMA_REPLACEMENT_SECONDS="2")

    def there() -> bool:
        assert stage.poll() is None, (tmp_path / "workspace.python.log").read_text()
        return any(re.search(r"elastic/checkpoints/pretrain/.*/step-\d+-\w+\.json", key) for key in keys(bucket))

    wait_until(there, 120, "a checkpoint in the store")
    cluster.kill(len(cluster.nodes) - 1)
    expected = tiny.beside(tmp_path / "expected", made)
    tiny.finish(tiny.start(expected, **CHANGES | longer))
    assert stage.wait(240) == 0, (tmp_path / "workspace.python.log").read_text()
    assert went_on_alone(workspace, expected, r"2, from step \d+ on 1")
    lost, gone_on = receipt(workspace)["warnings"]
    assert "was lost while pretrain ran on it" in lost and "was made by 2 processes and 1 go on from it" in gone_on

    # With a disk in common, by a later run of the stage.
    later = template.copy_to(tmp_path / "later")
    parameters_file.write(later.root / "params.yaml", {"compute.pretrain.min_nodes": 1})
    (saved,) = undisturbed.home.glob("scratch/pretrain/*/checkpoints")
    kept = later.home / saved.relative_to(undisturbed.home)
    shutil.copytree(saved, kept)
    shutil.rmtree(kept / f"step-{STEPS:010d}")
    later.stage("pretrain", STEMMA_REPLACEMENT_SECONDS="0")
    assert went_on_alone(later, alone, "2, from step 17 on 1")


def went_on_alone(workspace: Workspace, alone: Path, said: str) -> bool:
    """Whether a training of two nodes was ended by one of them as one process does it, and its receipt says so."""
    np.testing.assert_allclose(losses(workspace.root), losses(alone), rtol=2e-4)
    found = receipt(workspace)
    return (
        found["processes"] == 2
        and re.fullmatch(said, found["environment"]["processes"]) is not None
        and re.fullmatch(r"ray, [^,]+", found["environment"]["compute"]) is not None
    )
