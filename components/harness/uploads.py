"""Copies a training's checkpoints to object storage while it goes on, by one thread beside it."""

from __future__ import annotations

import os
import shutil
import threading
import time
from collections.abc import Callable
from pathlib import Path
from types import TracebackType

from components.harness.remote_checkpoints import RemoteCheckpoints, newest_of
from core.errors import said
from core.files import link_tree
from core.transfers import Stopped

LOOK_SECONDS = 0.5  # between looks for a new checkpoint
ATTEMPTS = 3  # for one checkpoint; then the next one is waited for
PAUSE_SECONDS = 2.0  # after the first attempt that failed, and twice as long after the second


class Uploads:
    """The thread that copies each new checkpoint of a folder to where they are kept, always the newest.

    A checkpoint's files are linked beside the folder before they are read: the training may remove it meanwhile.
    As a context manager it stops at its end, whatever is under way; :meth:`finish` waits first.

    Args:
        folder: in which checkpoints appear whole, under names ``step-…``.
        keep: newest checkpoints that stay in the store.
        warn: called, from the thread, with a sentence about what does not reach the store.
        log: called with name and seconds of a checkpoint that reached it.
    """

    def __init__(
        self,
        remote: RemoteCheckpoints,
        folder: Path,
        *,
        keep: int,
        warn: Callable[[str], None],
        log: Callable[[str, float], None] = lambda name, seconds: None,
    ):
        self._remote, self._folder, self._keep, self._warn, self._log = remote, folder, keep, warn, log
        self._links = folder.with_name("uploading")
        self._done = ""
        self._finishing, self._ended = threading.Event(), threading.Event()
        self._failed = False
        self._thread = threading.Thread(target=self._run, name="uploads", daemon=True)

    def __enter__(self) -> Uploads:
        self._thread.start()
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._ended.set()
        self._thread.join(LOOK_SECONDS + 5)
        shutil.rmtree(self._links, ignore_errors=True)

    def finish(self, seconds: float) -> None:
        """Wait until the newest checkpoint is in the store, ``seconds`` at most; warns if it does not get there."""
        self._finishing.set()
        self._thread.join(max(0.0, seconds))
        if self._thread.is_alive():
            self._ended.set()
            self._warn(
                f"{newest_of(self._folder)} did not reach {self._remote.shown} within {seconds:.0f} s: a run on "
                "another machine goes on from the checkpoint before it"
            )

    def _run(self) -> None:
        while not self._ended.is_set():
            last = self._finishing.is_set()  # asked first: what was written before it was set is seen below
            newest = newest_of(self._folder)
            if newest > self._done:
                self._upload(newest)
                shutil.rmtree(self._links, ignore_errors=True)
                self._done = newest
            elif last:
                return
            else:
                self._wait(LOOK_SECONDS)

    def _upload(self, name: str) -> None:
        """Copy one checkpoint, in a few attempts; what goes wrong is said once, until it goes right again."""
        linked = self._links / name
        try:
            shutil.rmtree(self._links, ignore_errors=True)
            linked.mkdir(parents=True)
            link_tree(self._folder / name, linked)
            os.stat(self._folder / name)  # else what was linked may not be all of it
        except FileNotFoundError:
            return  # the training has removed it, so there is a newer one
        for attempt in range(1, ATTEMPTS + 1):
            started = time.monotonic()
            try:
                if self._remote.upload(linked, name, self._ended.is_set):
                    self._log(name, time.monotonic() - started)
                self._remote.prune(self._keep)
            except Stopped:
                return
            except Exception as error:  # every store has errors of its own
                if attempt < ATTEMPTS and not self._ended.wait(PAUSE_SECONDS * attempt):
                    continue
                if not self._failed:
                    self._failed = True
                    self._warn(
                        f"{name} did not reach {self._remote.shown} ({said(error)}); the training goes on, and the "
                        "next checkpoint is tried again"
                    )
                return
            if self._failed:
                self._failed = False
                self._warn(f"checkpoints reach {self._remote.shown} again, from {name} on")
            return

    def _wait(self, seconds: float) -> None:
        until = time.monotonic() + seconds
        while time.monotonic() < until and not self._finishing.is_set():
            if self._ended.wait(0.05):
                return
