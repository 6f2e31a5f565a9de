"""Trials in Optuna: what is tried, what is kept over a kill, which setting wins."""

from __future__ import annotations

import subprocess
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from core import layout
from core.errors import InputProblem
from core.workspace import Workspace
from flows.scaling import ladder
from flows.sweeps import execute, space, study, winner
from flows.sweeps.definition import Sweep
from flows.sweeps.metrics import TrialMetric
from flows.sweeps.study import Study


def make(*texts: str, sampler="grid", trials=None, prune=False, higher=False, name="s") -> Sweep:
    dimensions, problems = space.parse(texts)
    assert not problems
    count = len(space.grid(dimensions)) if sampler == "grid" else trials
    paths = [each.path for each in dimensions]
    return Sweep(
        name, tuple(dimensions), {"p.fixed": [1, 2]}, TrialMetric("p", "loss", higher, True), "p", sampler, count,
        prune, 7, ("a", "p"), ("a",), dict.fromkeys(paths, ("p",)),
    )  # fmt: skip


def run(begun: Study, values: dict, state: str = "complete") -> None:
    for trial in begun.todo():
        result = values[tuple(begun.values(trial).values())]
        if result is None:
            begun.failed(trial, "out of memory", 1.0)
        else:
            begun.complete(trial, result, 0.01, 2.0, {})


def test_a_grid_is_run_in_its_order_and_nothing_twice(tmp_path):
    sweep = make("p.rate=0.3,0.1", "p.shape=[1, 2],[3]")
    begun = Study.begin(tmp_path, sweep)
    todo = begun.todo()
    first, second = next(todo), next(todo)
    assert begun.values(first) == {"p.rate": 0.3, "p.shape": [1, 2]}
    assert begun.values(second) == {"p.rate": 0.3, "p.shape": [3]}
    begun.complete(first, 1.0, None, 3.0, {})
    begun.failed(second, "out of memory", 1.0)
    third = next(todo)  # and killed while it runs

    again = Study.begin(tmp_path, sweep)
    found = [(trial.number, again.values(trial)) for trial in again.todo()]
    assert found[0] == (third.number, {"p.rate": 0.1, "p.shape": [1, 2]}), "the half-done one first, under its number"
    assert [values for _, values in found[1:]] == [{"p.rate": 0.1, "p.shape": [3]}, {"p.rate": 0.3, "p.shape": [3]}]
    assert study.names(tmp_path) == ["s"] and layout.sweeps_database(tmp_path).stat().st_mode & 0o77 == 0


@pytest.mark.parametrize("sampler", ["random", "tpe"])
def test_a_sampler_goes_on_where_it_was_and_takes_more_trials(tmp_path, sampler):
    texts = ("p.rate=1e-4..1e-2:log", "p.layers=1..8", "p.kind=a,b")
    seen = []
    for trials in (2, 4):
        begun = Study.begin(tmp_path, make(*texts, sampler=sampler, trials=trials))
        for trial in begun.todo():
            values = begun.values(trial)
            assert 1e-4 <= values["p.rate"] <= 1e-2 and 1 <= values["p.layers"] <= 8 and values["p.kind"] in "ab"
            seen.append(values["p.rate"])
            begun.complete(trial, values["p.rate"], None, 1.0, {})
    assert len(set(seen)) == 4, "drawn anew, not the first ones again"


def test_two_sweeps_at_once_make_the_tables_of_a_new_home_one_after_the_other(tmp_path, monkeypatch):
    storage, at_work = study.optuna.storages.RDBStorage, []

    def watched(*arguments, **options):
        at_work.append(1)
        time.sleep(0.2)
        assert len(at_work) == 1
        made = storage(*arguments, **options)
        at_work.pop()
        return made

    monkeypatch.setattr(study.optuna.storages, "RDBStorage", watched)
    with ThreadPoolExecutor() as pool:
        list(pool.map(study._storage, [tmp_path, tmp_path]))


def test_a_name_means_one_sweep(tmp_path):
    Study.begin(tmp_path, make("p.rate=1,2"))
    with pytest.raises(InputProblem, match="--name s: there is a sweep of this name that varies other things"):
        Study.begin(tmp_path, make("p.rate=1,3"))
    assert Study.load(tmp_path, "s").sweep.fixed == {"p.fixed": [1, 2]}
    with pytest.raises(InputProblem, match="nothing: there is no such sweep; there are: s"):
        Study.load(tmp_path, "nothing")


def test_seeds_repeat_a_setting_and_the_best_mean_wins(tmp_path):
    begun = Study.begin(tmp_path, make("p.rate=1,2,3", "p.seed=1..2"))
    lucky, steady, failing = (1, 1), (2, 1), (3, 2)
    run(begun, {lucky: 0.5, (1, 2): 2.5, steady: 1.0, (2, 2): 1.2, (3, 1): 0.1, failing: None})
    best = winner.winner(begun)
    assert best.values == {"p.rate": 2} and best.mean == pytest.approx(1.1) and best.stderr == pytest.approx(0.1)
    assert [each.values["p.rate"] for each in winner.settings(begun)] == [2, 1, 3], "one without all its seeds is last"


def test_the_direction_is_the_metric_s(tmp_path):
    for higher, expected in ((False, 1), (True, 2)):
        begun = Study.begin(tmp_path, make("p.rate=1,2", higher=higher, name=f"h{higher}"))
        assert winner.winner(begun) is None
        run(begun, {(1,): 0.1, (2,): 0.2})
        assert winner.winner(begun).values == {"p.rate": expected}


def test_a_trial_that_is_worse_than_the_median_so_far_is_pruned(tmp_path):
    begun = Study.begin(tmp_path, make("p.rate=1,2,3,4", prune=True))
    for trial in begun.todo():
        rate = begun.values(trial)["p.rate"]
        trial.report(float(rate), 100)
        assert trial.should_prune() == (rate == 4), "the median of fewer than three says little"
        begun.pruned(trial, 1.0) if rate == 4 else begun.complete(trial, float(rate), None, 1.0, {})
    assert [trial.state.name for trial in begun.trials] == ["COMPLETE"] * 3 + ["PRUNED"]
    assert not list(Study.begin(tmp_path, begun.sweep).todo()), "a pruned trial has ended"


def test_the_winner_is_written_with_comments_kept_and_seeds_left(tmp_path):
    params = tmp_path / "params.yaml"
    params.write_text("seed: 1  # of all\npretrain:\n  learning_rate: 0.01  # high\n  steps: 40\n")
    begun = Study.begin(tmp_path, make("pretrain.learning_rate=0.01,0.02", "pretrain.seed=1,2"))
    with pytest.raises(InputProblem, match="there is no winner to be written"):
        winner.apply(tmp_path, begun)
    run(begun, {(0.01, 1): 2.0, (0.01, 2): 2.0, (0.02, 1): 1.0, (0.02, 2): 1.0})
    best, diff = winner.apply(tmp_path, begun)
    assert (
        best.trials == (2, 3) and "-  learning_rate: 0.01  # high" in diff and "+  learning_rate: 0.02  # high" in diff
    )
    assert params.read_text() == "seed: 1  # of all\npretrain:\n  learning_rate: 0.02  # high\n  steps: 40\n"
    assert winner.apply(tmp_path, begun)[1] == ""


def test_a_sweep_whose_tree_was_removed_is_not_run_from_another(tmp_path):
    subprocess.run(["git", "init", "-q", tmp_path], check=True)
    home, sweep = tmp_path / ".stemma", make("p.rate=0.1,0.3")
    Study.begin(home, sweep).commit = "1" * 40
    with pytest.raises(InputProblem, match=r"--name s: the tree .* \(111111111111\) was removed since; choose another"):
        execute.run(Workspace(tmp_path, home), sweep, 1, print)


def test_a_ladder_needs_no_snapshot_of_its_trainings(tmp_path):
    begun = Study.begin(tmp_path, make("pretrain.architecture={preset: depth-2},{preset: depth-1}"))
    metrics = [{"name": "validation_loss", "value": 2.5, "stderr": 0.1}, {"name": "parameters", "value": 1000}]
    for trial in begun.todo():
        begun.complete(trial, 2.5, 0.1, 9.0, {"metrics": metrics, "tokens": 50, "seconds": 4.0, "processes": 2})
    first, second = ladder.rungs(Study.load(tmp_path, "s"))
    assert (first.run, first.size, first.training.tokens, first.stderr) == ("s-0", "depth-2", 50, 0.1)
    assert second.size == "depth-1" and second.flops_per_device_second == 6 * 1000 * 50 / (4.0 * 2)
