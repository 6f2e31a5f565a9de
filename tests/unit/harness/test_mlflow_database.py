"""MLflow's own database appears whole or not at all."""

import multiprocessing
import sqlite3
import time

import pytest

from components.harness.tracking import connect


@pytest.mark.slow
def test_a_process_killed_while_it_is_made_leaves_none(tmp_path, monkeypatch):
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    context = multiprocessing.get_context("spawn")
    process = context.Process(target=connect, args=(tmp_path,))
    process.start()
    partial = tmp_path / "mlflow.db.partial"
    deadline = time.monotonic() + 60
    while not partial.exists() and time.monotonic() < deadline:
        time.sleep(0.005)
    process.kill()
    process.join()
    assert partial.exists() and not (tmp_path / "mlflow.db").exists()
    client, experiment = connect(tmp_path)
    assert client.get_experiment(experiment).name == "stemma"
    assert not partial.exists()
    with sqlite3.connect(tmp_path / "mlflow.db") as connection:
        assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
