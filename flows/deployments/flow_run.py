"""A flow as a deployment's run: where it works, what its form began with, and what an earlier attempt left."""

from __future__ import annotations

import contextlib
import signal
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from prefect import runtime

from core import files, layout, locks
from core.errors import StemmaError
from core.processes import die_with_parent
from core.workspace import Workspace
from flows.deployments import device_slot
from registry.store import worktrees

if TYPE_CHECKING:
    from flows.pipeline.prepare import Prepared


ENDING_SECONDS = 30.0


class StillAtWork(StemmaError):
    """Another process works for the same flow run."""


def begin(workspace: str | None) -> Workspace:
    """The workspace; of a deployment's run, what an earlier attempt of it left is taken away.

    From here on the run ends with the process that started it, however that one ends: as by SIGTERM, which saves
    checkpoints. No process would be left to hear of a cancellation.

    Raises:
        StillAtWork: an earlier attempt of the run lives, although Prefect does not know it.
    """
    place = Workspace.find(Path(workspace) if workspace else None)
    if runtime.deployment.id is not None:
        die_with_parent(signal.SIGTERM)
        hold_run(place.home, str(runtime.flow_run.id))
        _clear(place)
    return place


def hold_run(home: Path, identity: str, patience: float = ENDING_SECONDS) -> None:
    """Be the one process that works for a flow run, until it ends: the kernel gives the lock back then.

    A server that stood still may take a run for dead that goes on; its retry would do the same work beside it.

    Args:
        patience: seconds that a process that is ending, such as that of a suspended run, gets.

    Raises:
        StillAtWork: another process works for it.
    """
    deadline = time.monotonic() + patience
    while locks.try_lock(layout.flow_run_lock(home, identity)) is None:
        if time.monotonic() > deadline:
            raise StillAtWork(
                "an earlier attempt of this run is still at work in another process, although the server took it for "
                "dead; it goes on and will end by itself: wait for it, or end that process before you retry"
            )
        time.sleep(0.2)


def registered(parameter: str) -> dict[str, Any]:
    """What the deployment's form offered for a parameter, as the server has it; empty without a deployment."""
    if runtime.deployment.id is None:
        return {}
    from prefect.client.orchestration import get_client

    with get_client(sync_client=True) as client:
        deployment = client.read_deployment(runtime.deployment.id)
    schema = ((deployment.parameter_openapi_schema or {}).get("properties") or {}).get(parameter) or {}
    shown = {name: each["default"] for name, each in (schema.get("properties") or {}).items() if "default" in each}
    return {**shown, **(deployment.parameters.get(parameter) or {})}


def remember(prepared: Prepared) -> None:
    """Note whose run this is, so that another attempt finds what it left."""
    if runtime.deployment.id is not None:
        path = _owner(prepared.home, prepared.run)
        files.write_text(path, str(runtime.flow_run.id))


def _clear(place: Workspace) -> None:
    """Remove trees of killed attempts of this flow run; their checkpoints lie elsewhere."""
    for leftover in worktrees.leftovers(place.home):
        with contextlib.suppress(FileNotFoundError):
            if _owner(place.home, leftover.folder.name).read_text(encoding="utf-8") == runtime.flow_run.id:
                worktrees.remove(place.root, leftover.folder)
                device_slot.give_back(device_slot.lease_note(place.home, leftover.folder.name))


def _owner(home: Path, run: str) -> Path:
    return layout.run(home, run) / "flow-run"
