"""The whole job on a tiny budget, as a user runs it: raw text to a promoted model, and what can be asked afterwards."""

import json

import pytest
from mlflow import MlflowClient
from ruamel.yaml import YAML

from bench import starts
from tests.prefect_database import give
from tests.workspace import Workspace, alive, make_workspace

TINY = {
    **starts.TINY,  # two processes are tried in tests/unit/pretrain and tests/integration/pretrain
    "pretrain.sample_tokens": 8,
    "classify_finetune.per_device_batch_size": 16,
    "instruct_finetune.per_device_batch_size": 16,
    "instruct_finetune.generation.max_new_tokens": 8,
    "reward_model.per_device_batch_size": 16,
    "reward_model.sampling.max_new_tokens": 8,
    "preference_tune.per_device_batch_size": 16,
    "preference_tune.sampling.max_new_tokens": 8,
    "evaluate.answers.max_new_tokens": 8,
    "evaluate.samples.max_new_tokens": 8,
    # A model this small passes no real threshold; the gate's own checks stay.
    "promotion": {"assistant": {"accuracy": {"min": 0.0}}},
}
STAGES = {
    "curate", "tokenize", "pretrain", "classify_finetune", "instruct_finetune", "reward_model", "preference_tune",
    "evaluate@base", "evaluate@instruct", "evaluate@assistant",
}  # fmt: skip


def _set(values: dict) -> list[str]:
    return [part for path, value in values.items() for part in ("--set", f"{path}={json.dumps(value)}")]


@pytest.fixture(scope="module")
def lived(tmp_path_factory, prefect_database) -> tuple[Workspace, str]:
    """A workspace in which the lifecycle has run once, and what its screen said."""
    workspace = make_workspace(tmp_path_factory.mktemp("lifecycle") / "workspace")
    give(prefect_database, workspace.home / "prefect")
    workspace.environment["OMP_NUM_THREADS"] = "1"  # a second thread costs more than it computes of models this small
    del workspace.environment["PYTHONDONTWRITEBYTECODE"]  # fifty processes run this code
    done = workspace.run(workspace.tool("stemma"), "run", *_set(TINY), timeout=900, COLUMNS="160")
    # Few steps make a model that has nothing to say, and the gate tells; a person may still want it.
    reason = "a budget this small is only a rehearsal"
    promote = ("promote", "assistant:1", "--to", "champion", "--force", "--reason", reason)
    workspace.run(workspace.tool("stemma"), *promote, COLUMNS="160")
    return workspace, done.stdout


def _stemma(workspace: Workspace, *arguments: str, **options):
    return workspace.run(workspace.tool("stemma"), *arguments, COLUMNS="160", **options)


def _receipts(workspace: Workspace) -> dict[str, dict]:
    receipts = (json.loads(path.read_text()) for path in (workspace.root / "receipts").glob("*.json"))
    return {receipt["stage"]: receipt for receipt in receipts}


def test_the_last_screen_shows_every_stage_and_the_promotion(lived):
    workspace, screen = lived
    assert all(stage in screen for stage in STAGES)
    refused = "assistant:1 does not become assistant@champion: model loads and answers: "
    promoted = "Promoted: assistant:1 is now assistant@champion" in screen
    assert promoted or refused in " ".join(screen.split())
    hints = ["stemma trace", "stemma generate"] if promoted else ["stemma models"]
    assert all(hint in screen for hint in [*hints, "mlflow ui"])
    assert set(_receipts(workspace)) == STAGES
    assert not alive(str(workspace.root)), "no process is left"


def test_what_the_gate_saw_and_who_overruled_it_is_kept(lived):
    workspace, screen = lived
    decisions = json.loads(_stemma(workspace, "history", "assistant", "--json").stdout)
    if "Promoted: assistant:1" in screen:
        assert [decision["action"] for decision in decisions] == ["promote"]
    else:
        assert [decision["action"] for decision in decisions] == ["reject", "promote"]
        assert decisions[1]["forced"] and decisions[1]["reason"].endswith("rehearsal")


def test_mlflow_dvc_and_the_registry_tell_the_same_story(lived):
    workspace, _ = lived
    locked = YAML(typ="safe").load((workspace.root / "dvc.lock").read_text())["stages"]
    client = MlflowClient(tracking_uri=f"sqlite:///{workspace.home / 'mlflow.db'}")
    parents = set()
    for stage, receipt in _receipts(workspace).items():
        run = client.get_run(receipt["mlflow"]["run_id"])
        # The folder of a parent is empty where there is none to go on from, and no input then; data/raw is one of
        # evaluate where it holds suites, questions or functions, models/base one of a reward model that begins with it.
        md5 = {
            dep["path"]: dep["md5"]
            for dep in locked[stage]["deps"]
            if not dep["path"].startswith(("components", "models/parent"))
            and (dep["path"] != "data/raw" or not stage.startswith("evaluate"))
            and (dep["path"], stage) != ("models/base", "reward_model")
        }
        assert {i.dataset.name: i.dataset.digest for i in run.inputs.dataset_inputs} == md5
        assert run.info.status == "FINISHED"
        assert run.data.tags["stemma.prefect.flow_run_id"] and run.data.tags["stemma.prefect.task_run_id"]
        assert run.data.tags["stemma.fingerprint"] == receipt["fingerprint"]
        assert receipt["headline"] in run.data.metrics
        parents.add(run.data.tags["mlflow.parentRunId"])
    (parent,) = parents
    compared = client.get_run(parent).data
    assert compared.params["pretrain.steps"] == "12"
    assert any(name.startswith("pretrain.") for name in compared.metrics)
    models = json.loads(_stemma(workspace, "models", "--json").stdout)
    assert {model["model"] for model in models} == {"base", "classifier", "instruct", "reward", "assistant"}
    assistant = next(model for model in models if model["model"] == "assistant")
    assert assistant["digest"] == next(
        o["md5"] for o in locked["preference_tune"]["outs"] if o["path"] == "models/assistant"
    )
    version = client.get_model_version_by_alias("assistant", "champion")
    assert int(version.version) == assistant["version"]


def test_the_family_tree_reaches_the_raw_data(lived):
    workspace, _ = lived
    tree = _stemma(workspace, "trace", "assistant@champion").stdout
    for name in ("preference_tune", "instruct_finetune", "reward_model", "pretrain", "tokenize", "curate", "data/raw"):
        assert name in tree
    assert workspace.git("rev-parse", "HEAD")[:7] in tree


def test_the_promoted_model_answers_as_it_was_measured(lived):
    workspace, _ = lived
    items = (workspace.root / "reports" / "evaluate-assistant" / "items.jsonl").read_text().splitlines()
    asked = next(item for item in map(json.loads, items) if item["task"] == "instructions")
    arguments = ("generate", "assistant@champion", asked["question"], "--max-tokens", "8")
    assert _stemma(workspace, *arguments).stdout == asked["answer"] + "\n"


def test_the_run_can_be_restored_from_git_and_dvc_alone(lived, tmp_path):
    workspace, _ = lived
    run = _receipts(workspace)["preference_tune"]["run"]
    reference = f"refs/stemma/runs/{run}"
    for name in ("dvc.lock", "params.yaml", "dvc.yaml", "receipts/pretrain.json"):
        kept = workspace.git("show", f"{reference}:{name}")
        assert kept == (workspace.root / name).read_text().strip()


@pytest.mark.nightly  # a training; test_reproduce.py makes stages again
def test_the_base_model_is_made_again_bit_by_bit(lived):
    workspace, _ = lived
    receipt = _receipts(workspace)["pretrain"]
    told = json.loads(_stemma(workspace, "reproduce", "base:1", "--json", timeout=600).stdout)
    assert (told["verdict"], told["stage"], told["notes"]) == ("bit-identical", None, [])
    assert [stage["stage"] for stage in told["stages"]] == ["curate", "tokenize", "pretrain", "evaluate@base"]
    assert all(stage["same"] for stage in told["stages"])
    client = MlflowClient(tracking_uri=f"sqlite:///{workspace.home / 'mlflow.db'}")
    experiment = client.get_experiment_by_name("stemma").experiment_id
    again = client.search_runs([experiment], "tags.`stemma.reproduction_of` = 'base:1'")
    assert len(again) == 5, "four stages and the run they lie under"
    first = client.get_run(receipt["mlflow"]["run_id"])
    assert first.info.run_id not in {run.info.run_id for run in again}
    (second,) = [run for run in again if run.data.tags.get("stemma.fingerprint") == receipt["fingerprint"]]
    loss = client.get_metric_history(first.info.run_id, receipt["headline"])
    repeated = client.get_metric_history(second.info.run_id, receipt["headline"])
    assert [point.value for point in loss] == [point.value for point in repeated]
    assert not alive(str(workspace.root)), "no process is left"


def test_a_second_run_trains_nothing(lived):
    workspace, _ = lived
    client = MlflowClient(tracking_uri=f"sqlite:///{workspace.home / 'mlflow.db'}")
    experiment = client.get_experiment_by_name("stemma").experiment_id
    before = len(client.search_runs([experiment]))
    lock = (workspace.root / "dvc.lock").read_text()
    screen = _stemma(workspace, "run").stdout
    assert "Nothing changed" in screen
    assert (workspace.root / "dvc.lock").read_text() == lock
    assert len(client.search_runs([experiment])) == before
    assert "up to date" in workspace.dvc("repro").stdout
    assert (workspace.root / "dvc.lock").read_text() == lock


def test_a_changed_parameter_concerns_its_stage_and_what_descends_from_it(lived):
    workspace, _ = lived
    path = workspace.root / "params.yaml"
    kept = path.read_text()
    try:
        path.write_text(kept.replace("learning_rate: 0.004 ", "learning_rate: 0.002 ", 1))  # pretrain's
        assert path.read_text() != kept
        assert set(json.loads(workspace.dvc("status", "--json").stdout)) == {"pretrain"}
        shown = json.loads(_stemma(workspace, "status", "--json").stdout)["stages"]
        states = {line["stage"]: line["state"] for line in shown}
        above = {"curate", "tokenize"}
        assert {states.pop(stage) for stage in above} == {"up to date"} and states.pop("pretrain") == "stale"
        assert states == dict.fromkeys(STAGES - above - {"pretrain"}, "follows")
    finally:
        path.write_text(kept)


def test_changed_code_concerns_its_stage(lived):
    workspace, _ = lived
    path = workspace.root / "components" / "reward_model" / "report.py"
    kept = path.read_text()
    try:
        path.write_text(kept + "\n# another line\n")
        assert set(json.loads(workspace.dvc("status", "--json").stdout)) == {"reward_model"}
    finally:
        path.write_text(kept)


def test_every_stage_leaves_a_page_to_look_at(lived):
    workspace, _ = lived
    client = MlflowClient(tracking_uri=f"sqlite:///{workspace.home / 'mlflow.db'}")
    for stage in STAGES:
        page = (workspace.root / "reports" / f"{stage.replace('@', '-')}.html").read_text()
        assert "<table" in page and str(workspace.root) not in page
        slug = stage.replace("@", "-")
        for path in (workspace.root / "reports" / slug).glob("*.json*"):
            assert ".partial" not in path.read_text(), "a name that a folder has only while the stage runs"
        run = json.loads((workspace.root / "receipts" / f"{slug}.json").read_text())["mlflow"]["run_id"]
        assert f"{slug}.html" in [item.path for item in client.list_artifacts(run)]


def test_bad_parameters_change_nothing(lived):
    workspace, _ = lived
    before = (workspace.root / "params.yaml").read_text(), (workspace.root / "dvc.lock").read_text()
    done = _stemma(
        workspace,
        "run",
        "--set",
        "pretrain.stepz=3",
        "--set",
        "curate.max_broken_share=7",
        "--set",
        "seed=-1",
        check=False,
    )
    assert done.returncode == 2
    told = done.stdout + done.stderr
    assert "pretrain.stepz" in told and "did you mean" in told and "curate.max_broken_share" in told and "seed" in told
    assert (before[0], before[1]) == (
        (workspace.root / "params.yaml").read_text(),
        (workspace.root / "dvc.lock").read_text(),
    )
