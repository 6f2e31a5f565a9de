"""Plans of trainings, made by ``python -m components plan`` in a process of its own, which imports what is heavy."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, BinaryIO

import components
from components.harness import libraries
from core import parameters_file, python
from core.environment import child_environment
from core.errors import InputProblem, StemmaError
from core.numbers import count, duration, size
from core.prefork import Prefork, Program
from core.processes import die_with_parent
from flows.pipeline import recipes

#: A stage waits for its plan, so the probe is short; it is needed only where the stage has not run here before.
PROBE_SECONDS = 1.0


class PlanningFailed(StemmaError):
    """The plan's process ended by an error; the message holds its last words."""


def training_data(stage: str) -> Path | None:
    """The data that a stage trains on, from the workspace's root; ``None`` for a stage that does not train.

    By its component's declaration: a training saves checkpoints, and reads a dataset.
    """
    name = stage.partition("@")[0]
    component = components.load(name) if name in components.STAGES else None
    if component is None or not component.resumable:
        return None
    return next((Path(each.path) for each in component.inputs if each.type == "dataset"), None)


def ask(arguments: Sequence[str], folder: Path) -> dict[str, Any]:
    """The answer to ``python -m components plan ARGUMENTS`` in ``folder``: its ``plans`` and what was ``skipped``.

    Raises:
        InputProblem: every mistake in the arguments, or in ``params.yaml``.
        PlanningFailed: it ended by an error.
    """
    done = subprocess.run(
        _command(arguments), cwd=folder, env=_environment(folder), capture_output=True, text=True, check=False
    )
    return _answer(done.returncode, done.stdout, done.stderr)


def ask_of_recipe(root: Path, recipe: str, arguments: Sequence[str]) -> dict[str, Any]:
    """:func:`ask` of the training stages as a recipe makes them; the tree stays as it is.

    Raises:
        InputProblem: there is no such recipe, or it is not valid over ``params.yaml``.
    """
    with tempfile.TemporaryDirectory() as folder:
        params = Path(folder, "params.yaml")
        params.write_bytes((root / "params.yaml").read_bytes())
        parameters_file.write(params, recipes.overrides(root, recipe))
        return ask([*arguments, *_params(params)], root)


def sentence(plan: dict[str, Any]) -> str:
    """A stage's plan in a line."""
    memory = next(each for each in plan["memory"] if each["chosen"])
    fits = "fits" if plan["fits"] else f"does not fit in {size(memory['usable_bytes'])}"
    if not plan["fits"] and memory["largest_micro_batch_sequences"]:
        fits += f"; {memory['largest_micro_batch_sequences']} sequences at a time would"
    return (
        f"{count(plan['model']['parameters'])} parameters, {count(plan['compute']['tokens'])} tokens, "
        f"{plan['compute']['flops_exact']:.3g} FLOPs, about {duration(plan['time']['seconds'])}, "
        f"{size(memory['total_bytes'])} a process ({fits})"
    )


class Planner:
    """Plans the training stages of one run, one at a time: a plan measures how fast the processor is.

    A plan that cannot be made is left out: it never stops a run.
    """

    def __init__(self, root: Path, folder: Path, prefork: Prefork | None):
        """``folder`` takes the plans of the tree ``root``; ``prefork`` has imported what they need."""
        self._root, self._folder, self._prefork = root, folder, prefork
        self._lock = threading.Lock()
        self._plans: list[StagePlan] = []
        self._closed = False

    def plan(
        self, stage: str, seconds: float, stopping: Callable[[], bool] = lambda: False, params: Path | None = None
    ) -> StagePlan:
        """Have a stage planned, and wait for it, but no longer than ``seconds``, nor when ``stopping`` says so.

        Args:
            params: a file in place of the tree's ``params.yaml``.
        """
        with self._lock:
            self._folder.mkdir(parents=True, exist_ok=True)
            answer = self._folder / f"{len(self._plans) + 1}.json"
            arguments = [f"--stage={stage}", f"--probe-seconds={PROBE_SECONDS}"]
            with open(answer, "wb") as output:
                process = None if self._closed else self._start([*arguments, *_params(params)], output)
            self._plans.append(plan := StagePlan(answer, process))
            until = time.monotonic() + seconds
            while not plan.ended and time.monotonic() < until and not stopping():
                time.sleep(0.05)
        return plan

    def _start(self, arguments: list[str], output: BinaryIO) -> subprocess.Popen[bytes] | Program:
        environment = _environment(self._root)
        with open(os.devnull, "wb") as nothing:
            if self._prefork is not None:
                with contextlib.suppress(OSError):  # it has ended; then as without it
                    return self._prefork.program(
                        "components", "plan", *arguments, cwd=self._root, env=environment,
                        output=output.fileno(), errors=nothing.fileno(), libraries=libraries.TRAINING,
                    )  # fmt: skip
            return subprocess.Popen(
                _command(arguments), cwd=self._root, env=environment,
                stdin=subprocess.DEVNULL, stdout=output, stderr=nothing, preexec_fn=die_with_parent,
            )  # fmt: skip

    def close(self) -> None:
        """End what still plans."""
        self._closed = True
        for plan in self._plans:
            plan.end()


class StagePlan:
    """The plan of a stage that is about to run, which a :class:`Planner` makes."""

    def __init__(self, answer: Path, process: subprocess.Popen[bytes] | Program | None):
        self._answer, self._process = answer, process

    @property
    def ended(self) -> bool:
        """Whether nobody works on it any more."""
        return self._process is None or self._process.poll() is not None

    def ready(self) -> dict[str, Any] | None:
        """The plan, once it is made; None until then, and where there is none."""
        if not self.ended:
            return None
        try:
            found = _answer(0, self._answer.read_text(encoding="utf-8"), "").get("plans")
        except (OSError, PlanningFailed, InputProblem):
            return None
        return found[0] if found else None

    def end(self) -> None:
        """Leave it unmade, unless it is made."""
        if self._process is not None and self._process.poll() is None:
            self._process.terminate()
            self._process.wait()


def _params(path: Path | None) -> list[str]:
    return [] if path is None else [f"--params={path}"]


def _command(arguments: Sequence[str]) -> list[str]:
    return python.command("components", "plan", *arguments)


def _environment(root: Path) -> dict[str, str]:
    """A plan is of the stages that the tree has."""
    return child_environment({"PYTHONPATH": python.with_code_of(root, os.environ)})


def _answer(code: int, output: str, errors: str) -> dict[str, Any]:
    try:
        answer = json.loads(output)
    except json.JSONDecodeError:
        words = "\n".join(errors.strip().splitlines()[-5:])
        raise PlanningFailed(f"the plan could not be made (exit code {code}):\n{words}") from None
    if problems := answer.get("problems"):
        raise InputProblem(problems)
    return answer
