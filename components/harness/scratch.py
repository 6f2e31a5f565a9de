"""The folder of one fingerprint: checkpoints, the spool of events, and the lock that keeps two processes apart.

<home>/scratch/<slug>/<fingerprint>/            what the component writes: checkpoints, cached samples
<home>/scratch/<slug>/<fingerprint>/tracking/   events.jsonl (the spool), cursor.json, outcome.json, attempts.json
<home>/runs/<run>/                              what the stages of a pipeline run leave for the process that started it
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from core import events, layout, locks
from core.files import as_umask, read_json, remove_folder, sync, write_json

KEEP_FINISHED = 3  # folders of finished work kept a stage, for a `dvc` that dies before it notes the result


@dataclass(frozen=True)
class Scratch:
    """Paths of one fingerprint's scratch folder."""

    folder: Path

    @classmethod
    def of(cls, home: Path, slug: str, fingerprint: str) -> Scratch:
        scratch = cls(layout.scratch(home) / slug / fingerprint)
        scratch.tracking.mkdir(parents=True, exist_ok=True)
        return scratch

    @property
    def tracking(self) -> Path:
        return self.folder / "tracking"

    @property
    def events(self) -> Path:
        return self.tracking / "events.jsonl"

    @property
    def outcome(self) -> Path:
        return self.tracking / "outcome.json"

    @property
    def attempts(self) -> Path:
        return self.tracking / "attempts.json"

    @property
    def receipt(self) -> Path:
        return self.tracking / "receipt.json"

    def begin_attempt(self, started: float) -> list[dict[str, Any]]:
        """Note that an attempt starts; one that was killed is taken to have ended with its last event."""
        attempts: list[dict[str, Any]] = read_json(self.attempts, [])
        for attempt in attempts:
            if attempt["ended"] is None:
                # Killed before it wrote an event, it took no time.
                last = self.events.stat().st_mtime if self.events.exists() else attempt["started"]
                attempt["ended"] = max(attempt["started"], min(started, last))
        attempts.append({"started": started, "ended": None})
        write_json(self.attempts, attempts)
        return attempts

    def committed(self, root: Path) -> bool:
        """True if ``dvc.lock`` holds the receipt that this folder's work ended with."""
        if not self.receipt.exists() or not (root / "dvc.lock").exists():
            return False
        md5 = hashlib.md5(self.receipt.read_bytes(), usedforsecurity=False).hexdigest()
        return f"md5: {md5}\n" in (root / "dvc.lock").read_text(encoding="utf-8")

    @property
    def replayed(self) -> bool:
        """True if nothing in the spool waits to be sent to MLflow."""
        return events.sent(self.events)

    def clear(self) -> None:
        """Remove everything but the lock that is held. A spool that waits for MLflow moves to a folder beside."""
        if not self.replayed:
            aside = self.folder.with_name(f"{self.folder.name}-{time.time_ns()}")
            partial = aside / "tracking.partial"
            shutil.copytree(self.tracking, partial, ignore=shutil.ignore_patterns("lock"))
            os.replace(partial, aside / "tracking")
        # The receipt last: killed before, this is done again, and no half of it is taken for an attempt to go on from.
        found = sorted((*self.folder.iterdir(), *self.tracking.iterdir()), key=lambda path: path == self.receipt)
        for path in found:
            if path.is_dir() and path != self.tracking:
                shutil.rmtree(path)
            elif path.is_file() and path.name != "lock":
                path.unlink()

    def forget_older(self) -> None:
        """Remove the folders of finished work of the same stage but the newest few; unfinished work stays."""
        for removed in self.folder.parent.glob("*.removed"):
            shutil.rmtree(removed, ignore_errors=True)
        finished = [
            other for other in self.folder.parent.iterdir()
            if other != self.folder and (other / "tracking" / "receipt.json").exists()
        ]  # fmt: skip
        finished.sort(key=lambda folder: (folder / "tracking" / "receipt.json").stat().st_mtime)
        for folder in finished[:-KEEP_FINISHED]:
            old = Scratch(folder)
            with old.lock(wait=False) as lock:
                if lock is not None and old.replayed:
                    remove_folder(folder)

    def lock(self, *, wait: bool = True) -> contextlib.AbstractContextManager[int | None]:
        """Hold the folder; yields the descriptor, which a child process may inherit so that it holds it too.

        Without ``wait`` it yields None where another process holds the folder.
        """
        return locks.holding(layout.scratch_lock(self.events), wait=wait)


def staging_of(output: Path) -> Path:
    """Where an output is made before it is published: beside it, so that publishing is a rename."""
    return output.with_name(f".{output.name}.partial")


def published_of(staged: Path) -> Path:
    """Where a file of a staged output is once it is published."""
    parts = (each.removeprefix(".").removesuffix(".partial") if each.endswith(".partial") else each
             for each in staged.parts)  # fmt: skip
    return Path(*parts)


def prepare(outputs: list[Path]) -> None:
    """Give every output an empty staging folder; what an earlier, interrupted attempt left there goes."""
    for output in outputs:
        shutil.rmtree(staging_of(output), ignore_errors=True)
        staging_of(output).mkdir(parents=True)


def publish(outputs: list[Path], *, skipped: bool = False) -> None:
    """Make the staged outputs the real ones, each whole or not at all.

    Args:
        skipped: the stage had nothing to do, so its outputs are empty.

    Raises:
        RuntimeError: a staging folder is empty, which means that the component forgot an output.
    """
    empty = [output.name for output in outputs if not any(staging_of(output).iterdir())]
    if empty and not skipped:
        raise RuntimeError(f"the component wrote nothing to its outputs {', '.join(empty)}")
    for output in outputs:
        for file in staging_of(output).rglob("*"):
            if file.is_file():
                as_umask(file)
                sync(file)
        if output.exists():
            shutil.rmtree(output)
        os.replace(staging_of(output), output)
        sync(output.parent)
