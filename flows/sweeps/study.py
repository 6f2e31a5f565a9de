"""A sweep's trials in Optuna: what to try next, what came of each, and what goes on after a kill.

Optuna's tables lie in a database of their own, ``<home>/sweeps.db``: they bring an ``alembic_version`` of their own,
which would be taken for the registry's, and nothing that is signed or audited depends on them.
"""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import optuna
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)
from optuna.pruners import BasePruner, MedianPruner, NopPruner
from optuna.samplers import BaseSampler, RandomSampler, TPESampler
from optuna.trial import FrozenTrial, Trial, TrialState

from core import layout
from core.errors import InputProblem
from core.files import private_folder
from core.locks import FileLock
from core.workspace import sqlite_url
from flows.sweeps import space
from flows.sweeps.definition import Sweep
from flows.sweeps.space import Choices, Dimension

BUSY_SECONDS = 60
#: The median of fewer trials says little.
TRIALS_BEFORE_PRUNING = 3
_DEFINITION, _COMMIT, _ERROR, _MEASURED = "definition", "commit", "error", "measured"
STDERR, SECONDS = "stderr", "seconds"
#: States of trials that are not run again.
ENDED = (TrialState.COMPLETE, TrialState.PRUNED)

optuna.logging.set_verbosity(logging.WARNING)


class Study:
    """The record of one sweep. Everything but :meth:`report` is for one thread."""

    def __init__(self, sweep: Sweep, study: optuna.Study):
        self.sweep, self._study = sweep, study
        self._decoded = {
            each.path: {_encoded(value): value for value in each.values}
            for each in sweep.dimensions
            if isinstance(each, Choices)
        }

    @classmethod
    def begin(cls, home: Path, sweep: Sweep) -> Study:
        """The record of a sweep: a new one, or that of an earlier attempt, which goes on.

        Raises:
            InputProblem: a sweep of this name is another one.
        """
        study = optuna.create_study(
            storage=_storage(home),
            study_name=sweep.name,
            direction="maximize" if sweep.metric.higher_is_better else "minimize",
            load_if_exists=True,
        )
        known = study.user_attrs.get(_DEFINITION)
        if known is None:
            study.set_user_attr(_DEFINITION, sweep.as_dict())
        elif (former := Sweep.of(known)) != _of_json(sweep):
            if sweep.sampler != "grid" and former == _of_json(sweep, trials=former.trials):
                study.set_user_attr(_DEFINITION, sweep.as_dict())  # more trials of the same
            else:
                raise InputProblem(
                    f"--name {sweep.name}: there is a sweep of this name that varies other things, or the same things "
                    f"with other parameters beside them (`stemma sweep show {sweep.name}`); choose another name"
                )
        begun = cls(sweep, study)
        study.sampler, study.pruner = begun._sampler(), begun._pruner()
        begun._queue()
        return begun

    @classmethod
    def load(cls, home: Path, name: str) -> Study:
        """The record of the sweep ``name``, to be read.

        Raises:
            InputProblem: there is none of this name.
        """
        known = names(home)
        if name not in known:
            raise InputProblem(f"{name}: there is no such sweep; there are: {', '.join(known) or 'none'}")
        study = optuna.load_study(study_name=name, storage=_storage(home))
        return cls(Sweep.of(study.user_attrs[_DEFINITION]), study)

    @property
    def optuna(self) -> optuna.Study:
        """Optuna's own, for its figures."""
        return self._study

    @property
    def commit(self) -> str | None:
        """The tree that all trials are run from, once it is made."""
        return self._study.user_attrs.get(_COMMIT)

    @commit.setter
    def commit(self, sha: str) -> None:
        self._study.set_user_attr(_COMMIT, sha)

    @property
    def trials(self) -> list[FrozenTrial]:
        """Those that have begun, by number."""
        return [trial for trial in self._study.get_trials(deepcopy=False) if trial.state != TrialState.WAITING]

    def todo(self) -> Iterator[Trial]:
        """Trials to be run: first those that an earlier attempt left half done, then new ones."""
        trials = self._study.get_trials(deepcopy=False)
        for trial in trials:
            if trial.state == TrialState.RUNNING:
                yield Trial(self._study, trial._trial_id)
        kept = sum(trial.state in (*ENDED, TrialState.RUNNING) for trial in trials)
        for _ in range(self.sweep.trials - kept):
            yield self._study.ask(self._distributions())

    def values(self, trial: Trial | FrozenTrial) -> dict[str, Any]:
        """The values that a trial tries, by path, as ``params.yaml`` has them."""
        found = trial.params
        return {
            each.path: self._decoded[each.path][found[each.path]] if each.path in self._decoded else found[each.path]
            for each in self.sweep.dimensions
            if each.path in found
        }

    def run_name(self, trial: Trial | FrozenTrial) -> str:
        """The name of the trial's run."""
        return f"{self.sweep.name}-{trial.number}"

    def complete(
        self, trial: Trial, value: float, stderr: float | None, seconds: float, measured: Mapping[str, Any]
    ) -> None:
        """The trial ended, and the metric is ``value``.

        Args:
            measured: see :func:`measured_of`.
        """
        self._note(trial, seconds, {STDERR: stderr, _MEASURED: dict(measured)})
        self._study.tell(trial, value)

    def pruned(self, trial: Trial, seconds: float) -> None:
        """The trial was ended early; Optuna keeps its last intermediate value."""
        self._note(trial, seconds, {})
        self._study.tell(trial, state=TrialState.PRUNED)

    def failed(self, trial: Trial, error: str, seconds: float) -> None:
        """The trial ended by an error; the same command tries its values again."""
        self._note(trial, seconds, {_ERROR: error[:2000]})
        self._study.tell(trial, state=TrialState.FAIL)

    def _note(self, trial: Trial, seconds: float, more: Mapping[str, Any]) -> None:
        for name, value in {SECONDS: seconds, **more}.items():
            trial.set_user_attr(name, value)

    def _sampler(self) -> BaseSampler:
        # A sampler that begins anew would draw again what it drew before.
        seed = self.sweep.seed + len(self._study.get_trials(deepcopy=False))
        if self.sweep.sampler == "tpe":
            # Trials that run beside each other are told from one another by a guess at what the others will give.
            return TPESampler(seed=seed, constant_liar=True)
        return RandomSampler(seed=seed)

    def _pruner(self) -> BasePruner:
        if self.sweep.prune:
            return MedianPruner(n_startup_trials=TRIALS_BEFORE_PRUNING)
        return NopPruner()

    def _queue(self) -> None:
        """Queue the grid, in its order; what is queued or was run without an error is not queued again."""
        if self.sweep.sampler != "grid":
            return
        kept = [
            json.dumps(trial.params or trial.system_attrs.get("fixed_params"), sort_keys=True)
            for trial in self._study.get_trials(deepcopy=False)
            if trial.state != TrialState.FAIL
        ]
        for combination in space.grid(self.sweep.dimensions):
            encoded = {path: self._encode(path, value) for path, value in combination.items()}
            if json.dumps(encoded, sort_keys=True) not in kept:
                self._study.enqueue_trial(encoded)

    def _encode(self, path: str, value: Any) -> Any:
        return _encoded(value) if path in self._decoded else value

    def _distributions(self) -> dict[str, BaseDistribution]:
        return {each.path: _distribution(each) for each in self.sweep.dimensions}


def names(home: Path) -> list[str]:
    """Every sweep of the home, the oldest first."""
    if not layout.sweeps_database(home).exists():
        return []
    return [
        summary.study_name
        for summary in sorted(optuna.get_all_study_summaries(_storage(home)), key=lambda each: each._study_id)
        if _DEFINITION in summary.user_attrs
    ]


def left(home: Path, sweep: Sweep) -> int:
    """How many trials of a sweep have not ended yet: all of them, where it never began."""
    if sweep.name not in names(home):
        return sweep.trials
    trials = optuna.load_study(study_name=sweep.name, storage=_storage(home)).get_trials(deepcopy=False)
    return max(0, sweep.trials - sum(trial.state in ENDED for trial in trials))


def seconds_of(trial: FrozenTrial) -> float | None:
    """What a trial took; of one that was interrupted, its last attempt."""
    return trial.user_attrs.get(SECONDS)


def measured_of(trial: FrozenTrial) -> dict[str, Any]:
    """What the receipt of the metric's stage says was measured of a trial that ended with a value."""
    measured: dict[str, Any] = trial.user_attrs[_MEASURED]
    return measured


def error_of(trial: FrozenTrial) -> str | None:
    """Why a trial failed."""
    return trial.user_attrs.get(_ERROR)


def _storage(home: Path) -> optuna.storages.RDBStorage:
    path = layout.sweeps_database(home)
    private_folder(path.parent)
    with FileLock(path.with_suffix(".lock")):  # Optuna makes its tables and notes their version without one
        if not path.exists():
            os.close(os.open(path, os.O_CREAT, 0o600))
        return optuna.storages.RDBStorage(sqlite_url(path), engine_kwargs={"connect_args": {"timeout": BUSY_SECONDS}})


def _distribution(each: Dimension) -> BaseDistribution:
    if isinstance(each, Choices):
        return CategoricalDistribution([_encoded(value) for value in each.values])
    if each.whole:
        return IntDistribution(int(each.low), int(each.high), log=each.log, step=int(each.step or 1))
    return FloatDistribution(each.low, each.high, log=each.log, step=each.step)


def _encoded(value: Any) -> Any:
    """A choice as Optuna keeps it: lists and mappings as JSON."""
    return value if value is None or isinstance(value, bool | int | float | str) else json.dumps(value, sort_keys=True)


def _of_json(sweep: Sweep, **changes: Any) -> Sweep:
    """The sweep as it comes back from the record, where lists within values stay lists."""
    return Sweep.of(json.loads(json.dumps({**sweep.as_dict(), **changes}, default=str)))
