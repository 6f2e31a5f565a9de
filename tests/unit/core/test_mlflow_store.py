"""Artifacts of MLflow's runs are found again when their workspace is moved or copied."""

import shutil
import sqlite3
import subprocess
from contextlib import closing

import pytest

from core import layout, mlflow_store


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """(home with one run that has an artifact, as MLflow's own client makes it; a copy of it that stays whole)"""
    from mlflow import MlflowClient

    home = tmp_path_factory.mktemp("mlflow") / "first place%20" / ".stemma"
    home.mkdir(parents=True)
    client = MlflowClient(tracking_uri=f"sqlite:///{layout.mlflow_database(home)}")
    experiment = client.create_experiment("stemma", artifact_location=layout.mlflow_artifacts(home).as_uri())
    run = client.create_run(experiment)
    client.log_text(run.info.run_id, "kept", "note.txt")
    client.create_registered_model("base")
    client.create_model_version("base", f"{run.info.artifact_uri}/model", run.info.run_id)
    return home, shutil.copytree(home, home.parents[1] / "whole")


@pytest.fixture
def home(made):
    """The home as it was made, where it was made."""
    home, whole = made
    shutil.rmtree(home, ignore_errors=True)
    return shutil.copytree(whole, home)


def _artifact(home) -> str:
    from mlflow import MlflowClient
    from mlflow.artifacts import load_text

    uri = f"sqlite:///{layout.mlflow_database(home)}"
    client = MlflowClient(tracking_uri=uri)
    (run,) = client.search_runs([client.get_experiment_by_name("stemma").experiment_id])
    return load_text(f"{run.info.artifact_uri}/note.txt")


def test_a_home_where_it_was_made_has_nothing_to_mend(home):
    assert mlflow_store.moved_from(home) == {} and mlflow_store.adopt_artifacts(home) == 0
    assert _artifact(home) == "kept"


@pytest.mark.parametrize("copied", [False, True])
def test_a_moved_or_copied_home_reads_its_own_artifacts(home, tmp_path, copied):
    there = tmp_path / "second" / ".stemma"
    shutil.copytree(home, there)
    if copied:
        (next(layout.mlflow_artifacts(home).glob("*/artifacts")) / "note.txt").write_text("the other workspace's")
    else:
        shutil.rmtree(home)
    former = str(layout.mlflow_artifacts(home))
    assert mlflow_store.moved_from(there) == {former: 4}  # experiment, run, the version's source and storage
    assert mlflow_store.adopt_artifacts(there) == 4
    assert mlflow_store.moved_from(there) == {}
    assert _artifact(there) == "kept"


def test_artifacts_elsewhere_by_choice_stay_there(home, tmp_path):
    other = tmp_path / "disk" / "mlartifacts" / "1"
    other.mkdir(parents=True)
    with closing(sqlite3.connect(layout.mlflow_database(home))) as connection, connection:
        connection.execute("UPDATE experiments SET artifact_location = ?", (other.as_uri(),))
        connection.execute("UPDATE runs SET artifact_uri = 's3://bucket/mlartifacts/1'")
    assert mlflow_store.adopt_artifacts(home) == 0


def test_a_home_without_a_database_has_nothing_to_mend(tmp_path):
    assert mlflow_store.moved_from(tmp_path) == {} and mlflow_store.adopt_artifacts(tmp_path) == 0
    assert not layout.mlflow_database(tmp_path).exists()


def test_doctor_names_the_former_folder_until_the_addresses_are_changed(home, tmp_path, monkeypatch):
    from cli import diagnosis

    there = tmp_path / "second" / ".stemma"
    shutil.move(home, there)
    (there.parent / "dvc.yaml").write_text("stages: {}\n")
    subprocess.run(["git", "init", "-q"], cwd=there.parent, check=True)
    monkeypatch.chdir(there.parent)
    for name in ("STEMMA_HOME", "MLFLOW_TRACKING_URI", "PREFECT_API_URL"):
        monkeypatch.delenv(name, raising=False)

    def findings() -> list[str]:
        return [finding.text for finding in diagnosis._servers() if finding.name == "mlflow artifacts"]

    (text,) = findings()
    assert text.startswith(f"4 addresses lead to {layout.mlflow_artifacts(home)}, where this workspace was before")
    mlflow_store.adopt_artifacts(there)
    assert findings() == []
