"""A stage whose checkpoints are kept in object storage too: found there before it starts, brought there while it runs,
and removed once its outputs are published.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from components.harness.job import Job
from components.harness.outcomes import COMPLETE, INTERRUPTED, PROBLEMS
from components.harness.remote_checkpoints import RemoteCheckpoints, newest_of
from components.harness.scratch import Scratch
from components.harness.uploads import Uploads
from core import events, keys
from core.errors import InputProblem, said
from core.processes import notice_seconds
from core.transfers import Stopped
from core.workspace import Workspace

UPLOAD_SECONDS = 60.0  # how long a stage that failed waits for its newest checkpoint to reach the store
MARGIN_SECONDS = 3.0  # of the machine's notice, for what the harness does after the upload
Outcome = dict[str, Any]


def place_of(job: Job) -> RemoteCheckpoints | None:
    """Where the job's checkpoints are kept besides its scratch folder; ``None`` where nothing names a place.

    That is what the stage's parameters say, or else a folder of the store by which its files travel to other machines.
    """
    if not job.component.resumable:
        return None
    url = getattr(job.parameters, "checkpoints", None)
    if url is None and job.compute.storage is not None:
        url = f"{job.compute.storage.rstrip('/')}/checkpoints"
    if url is None:
        return None
    work = f"{job.slug}/{job.fingerprint}"
    return RemoteCheckpoints(url, work, keys.secret(Workspace(job.root, job.home), f"checkpoints of {work}"))


def described(remote: RemoteCheckpoints, keep: int) -> dict[str, Any]:
    """Where checkpoints are kept and how many of them, for an order; it holds the secret of the work."""
    return {"url": remote.url, "work": remote.work, "secret": remote.secret.hex(), "keep": keep}


def of_description(body: Mapping[str, Any]) -> RemoteCheckpoints:
    """What :func:`described` was given."""
    return RemoteCheckpoints(body["url"], body["work"], bytes.fromhex(body["secret"]))


def bring(remote: RemoteCheckpoints, folder: Path, stopping: Callable[[], bool]) -> str:
    """Copy the newest checkpoint of ``folder`` to the store, if it is newer than those there.

    Returns:
        Name of the newest one; empty where there is none.

    Raises:
        InputProblem: there are some, and none was written with this home's key.
        Stopped: ``stopping`` became true.
        Exception: the store's own.
    """
    here = newest_of(folder)
    there = max((each.folder for each in remote.newest(lambda message: None)), default="")
    if here > there:
        remote.upload(folder / here, here, stopping)
    return max(here, there)


def kept(
    remote: RemoteCheckpoints,
    attempts: Callable[[], Outcome],
    *,
    scratch: Scratch,
    keep: int,
    warnings: list[str],
    stopped_at: Callable[[], float | None],
) -> Outcome:
    """What ``attempts`` come to, from the newest checkpoint in the store, which gets every new one meanwhile.

    A run that ends before its time waits for the last one: within the machine's notice, if it was asked to end.

    Args:
        keep: newest checkpoints that stay in the store.
        warnings: takes what the user should know of the store.
        stopped_at: when a signal asked for the end, on the monotonic clock.
    """

    followed = False  # by the terminal, which shows warnings among the events

    def warn(message: str) -> None:
        warnings.append(message)
        events.append(scratch.events, "warning", message=message)
        if not followed:
            print(message, file=sys.stderr)

    def uploaded(name: str, seconds: float) -> None:
        step = int(name.removeprefix("step-"))
        events.append(scratch.events, "point", step=step, metrics={"checkpoint_upload_seconds": seconds})

    folder = scratch.folder / "checkpoints"
    events.end_torn_line(scratch.events)
    try:
        if fetched := remote.fetch_newer(folder, warn, lambda: stopped_at() is not None):
            print(f"goes on from {fetched} of {remote.shown}", file=sys.stderr)
    except InputProblem as problem:
        return {"state": PROBLEMS, "problems": problem.problems}
    except Stopped:
        return {"state": INTERRUPTED, "problems": []}
    except Exception as error:  # every store has errors of its own
        return {"state": PROBLEMS, "problems": [f"{remote.shown}: no checkpoint can be fetched ({said(error)})"]}
    with Uploads(remote, folder, keep=keep, warn=warn, log=uploaded) as uploads:
        followed = True
        outcome = attempts()
        followed = False
        if outcome["state"] != COMPLETE:
            asked = stopped_at()
            until = UPLOAD_SECONDS if asked is None else asked + notice_seconds() - MARGIN_SECONDS - time.monotonic()
            uploads.finish(until)
    return outcome


def clear(remote: RemoteCheckpoints) -> None:
    """Remove the checkpoints of work that is finished, or is to be done anew."""
    try:
        remote.clear()
    except Exception as error:  # every store has errors of its own
        print(f"{remote.shown}: checkpoints cannot be removed ({said(error)}); remove them", file=sys.stderr)
