"""MLflow as a mirror of a sweep, and its figures."""

from __future__ import annotations

from core.workspace import Workspace
from flows.sweeps.study import Study
from flows.sweeps.tracking import Mirror
from tests.unit.sweeps.test_study import make, run


def test_a_server_that_is_away_stops_nothing_and_the_figures_are_drawn(tmp_path, monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:1")
    begun = Study.begin(tmp_path, make("p.rate=1,2", "p.width=3,4"))
    said: list[str] = []
    mirror = Mirror(Workspace(tmp_path, tmp_path), begun, said.append)
    trial = next(begun.todo())
    trial.report(3.0, 10)
    mirror.begin(trial)
    run(begun, {(1, 3): 1.0, (1, 4): 2.0, (2, 3): 3.0, (2, 4): 5.0})
    mirror.end(trial)
    mirror.close()
    assert len(said) == 3 and all(line.startswith("MLflow update incomplete; it is retried") for line in said)
    assert {path.stem for path in (tmp_path / "sweeps" / "s").iterdir()} == {
        "best_so_far",
        "curves",
        "importance",
        "parallel_coordinates",
    }
