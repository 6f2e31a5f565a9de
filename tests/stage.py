"""Runs a component in the test's own process, without the harness around it."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from components.contract import Component, Context, Help, Interrupted, Spread
from components.harness.remote_checkpoints import RemoteCheckpoints, newest_of


def run_component(
    component: Component,
    workspace: Path,
    parameters: dict | None = None,
    *,
    instance: str | None = None,
    seed: int = 1337,
    cache: Path | None = None,
    spread: Spread | None = None,
    help: Help | None = None,
    elastic: bool = False,
) -> Context:
    """Run ``component`` with its declared paths taken relative to ``workspace``; return the context it was given.

    As the harness does, it gives no optional input of which there is no file.
    """
    outputs = {}
    for artifact in component.outputs:
        outputs[artifact.name] = workspace / artifact.for_instance(instance).path
        outputs[artifact.name].mkdir(parents=True, exist_ok=True)
    scratch = workspace / "scratch" / component.name
    scratch.mkdir(parents=True, exist_ok=True)
    context = Context(
        parameters=component.parameters(**(parameters or {})),
        seed=seed,
        inputs={
            a.name: workspace / a.for_instance(instance).path
            for a in component.inputs
            if not a.optional or any((workspace / a.for_instance(instance).path).rglob("*.*"))
        },
        outputs=outputs,
        scratch=scratch,
        instance=instance,
        cache=cache,
        spread=spread,
        help=help,
        elastic=elastic,
        events=workspace / f"{component.name}.events.jsonl",
    )
    component.run(context)
    return context


def run_until_stopped(component: Component, workspace: Path, parameters: dict, *, step: int) -> None:
    """Run ``component`` as above and stop it, as SIGTERM does, once ``step`` is a point of its curve."""
    log = Context.log

    def log_and_stop(self, metrics, at):
        log(self, metrics, at)
        self.stopping = self.stopping or at >= step

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Context, "log", log_and_stop)
        with pytest.raises(Interrupted):
            run_component(component, workspace, parameters)


def lose_machine(scratch: Path) -> set[str]:
    """Leave of a stage's scratch folder what another machine fetches of it from object storage; the files' paths."""
    remote, folder = RemoteCheckpoints(f"file://{scratch}-store", "stage/0", b"s" * 32), scratch / "checkpoints"
    name = newest_of(folder)
    assert remote.upload(folder / name, name, lambda: False)
    shutil.rmtree(scratch)
    assert remote.fetch_newer(folder, pytest.fail, lambda: False) == name
    return {path.relative_to(folder / name).as_posix() for path in folder.rglob("*")}
