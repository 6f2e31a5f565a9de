"""Two runs never train on one device at once: a run takes a slot of Prefect's global concurrency limit ``train``.

A slot belongs to a run: stages of one run share the device as they always did. It is taken under a lease, so that the
server gives it to the next run a minute after a holder that died. Where the server has no such limit (a bare
``stemma run`` starts one of its own), nothing is waited for.
"""

from __future__ import annotations

import contextlib
import logging
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from uuid import UUID

import httpx
from prefect.client.orchestration import SyncPrefectClient, get_client

from core import files, layout
from flows.pipeline.stage_process import StageStopped

LIMIT = "train"
LEASE_SECONDS = 60.0  # the shortest that the server grants
RENEW_SECONDS = 20.0
POLL_SECONDS = 2.0


class NotTaken(StageStopped):
    """The wait for a slot was given up."""


class DeviceSlot:
    """The slot of one run, held while any of its stages trains.

    Args:
        note: file that names the lease while it is held, for :func:`give_back`.
    """

    def __init__(self, note: Path) -> None:
        self._note = note
        self._lock = threading.Lock()
        self._users = 0
        self._held = contextlib.ExitStack()

    @contextlib.contextmanager
    def held(self, stopping: Callable[[], bool], waiting: Callable[[], None]) -> Iterator[None]:
        """Hold the slot within the block; ``waiting`` is called once where it has to be waited for.

        Raises:
            NotTaken: ``stopping`` said so before there was one.
        """
        with self._lock:
            if self._users == 0:
                self._held.enter_context(_slot(self._note, stopping, waiting))
            self._users += 1
        try:
            yield
        finally:
            with self._lock:
                self._users -= 1
                if self._users == 0:
                    self._held.close()


@contextlib.contextmanager
def _slot(note: Path, stopping: Callable[[], bool], waiting: Callable[[], None]) -> Iterator[None]:
    with get_client(sync_client=True) as client:
        lease = _take(client, stopping, waiting)
        if lease is None:
            yield
            return
        files.write_text(note, str(lease))
        ended = threading.Event()
        # A thread of its own: the stages that train keep theirs busy.
        renewal = threading.Thread(target=_renew, args=(lease, ended), daemon=True)
        renewal.start()
        try:
            yield
        finally:
            ended.set()
            renewal.join(LEASE_SECONDS)
            with contextlib.suppress(httpx.HTTPError):  # it lapses by itself
                client.release_concurrency_slots_with_lease(lease)
            note.unlink(missing_ok=True)


def lease_note(home: Path, run: str) -> Path:
    """Where a run notes its lease."""
    return layout.run(home, run) / "train-lease"


def give_back(note: Path) -> None:
    """Give back the slot of a run that was killed, rather than wait until its lease has lapsed."""
    with contextlib.suppress(FileNotFoundError, ValueError, httpx.HTTPError), get_client(sync_client=True) as client:
        client.release_concurrency_slots_with_lease(UUID(note.read_text(encoding="utf-8")))
        note.unlink()


def _take(client: SyncPrefectClient, stopping: Callable[[], bool], waiting: Callable[[], None]) -> UUID | None:
    """The lease of a slot, once there is one; ``None`` where the server limits nothing or does not answer."""
    said = False
    while not stopping():
        try:
            answer = client.increment_concurrency_slots_with_lease([LIMIT], 1, "concurrency", LEASE_SECONDS)
        except httpx.HTTPStatusError as error:
            if error.response.status_code != httpx.codes.LOCKED:
                _warn_unlimited(error)
                return None
        except httpx.HTTPError as error:
            _warn_unlimited(error)
            return None
        else:
            body = answer.json()
            return UUID(body["lease_id"]) if body["limits"] else None
        if not said:
            said = True
            waiting()
        time.sleep(POLL_SECONDS)
    raise NotTaken(f"stopped while it waited for a slot of the concurrency limit {LIMIT!r}")


def _renew(lease: UUID, ended: threading.Event) -> None:
    with get_client(sync_client=True) as client:
        while not ended.wait(RENEW_SECONDS):
            try:
                client.renew_concurrency_lease(lease, LEASE_SECONDS)
            except httpx.HTTPError as error:
                _warn_unlimited(error)


def _warn_unlimited(error: httpx.HTTPError) -> None:
    """A server that does not answer never stops a training."""
    logging.getLogger(__name__).warning("the concurrency limit %r is not held: %s", LIMIT, error)
