"""The part of one node in a stage whose inputs, checkpoints and outputs travel by object storage, not by a shared disk.

``python -m components.compute.apart fetch ORDER.json`` brings the inputs to the folder of the order, ``work`` then runs
the worker on them. The first node also keeps the checkpoints in the store while it does, goes on from the newest one
there, and sends the outputs; the others need neither (the main process alone reads and writes these).
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from components.compute.remote_files import NO_STORE, RemoteFiles
from components.engine import kept
from components.harness import launch, offsite, outcomes
from components.harness.outcomes import COMPLETE, EXIT_CODES, FAILED, INTERRUPTED, PROBLEMS
from components.harness.scratch import Scratch
from core import events, python
from core.errors import InputProblem, said
from core.files import private_folder, read_json, write_json
from core.processes import die_with_parent, follow_parent
from core.transfers import NotAsWritten, Stopped

Outcome = dict[str, Any]


def output(folder: Path, name: str) -> Path:
    """Where the work in ``folder`` makes the output ``name``."""
    return folder / "outputs" / name


class _Node:
    """The work of an order in the folder where it lies."""

    def __init__(self, path: Path):
        self.order, self.folder = read_json(path, None), path.parent
        self.where = f"node {self.order['host']}"
        self.files = RemoteFiles(self.order["storage"])
        self.stopped_at: float | None = None
        self.worker: subprocess.Popen[bytes] | None = None
        follow_parent(self.order["supervisor"])
        signal.signal(signal.SIGTERM, self._stop)
        signal.signal(signal.SIGINT, self._stop)

    def _stop(self, *_: object) -> None:
        if self.stopped_at is None:
            self.stopped_at = time.monotonic()
            if self.worker is not None:
                self.worker.send_signal(signal.SIGTERM)

    def _stopping(self) -> bool:
        return self.stopped_at is not None

    def fetch(self) -> Outcome:
        """Bring the inputs here; a later stage or attempt on this machine finds those that it has in common."""
        folder, store = self.folder / "inputs", self.folder.with_name("files")
        shutil.rmtree(folder, ignore_errors=True)
        private_folder(store)
        inputs: Mapping[str, Any] = self.order["sent"]
        with kept.using(store):
            for name, files in inputs.items():
                (folder / name).mkdir(parents=True)
                self.files.fetch_kept(files, folder / name, store, self._stopping)
        kept.trim(store, [store / digest for files in inputs.values() for digest, _ in files.values()])
        return {"state": COMPLETE, "problems": []}

    def work(self) -> Outcome:
        """Run the worker; of the first node also with checkpoints and outputs."""
        if os.environ[launch.NODE_RANK] != "0":
            return self._attempt()
        asked = self.order["checkpoints"]
        return self._sent() if asked is None else self._kept(asked)

    def _sent(self) -> Outcome:
        """The outcome of the worker, once its outputs are in the store."""
        outcome = self._attempt()
        if outcome["state"] != COMPLETE:
            return outcome
        folders = {name: output(self.folder, name) for name in self.order["outputs"]}
        made = {name: self.files.upload(folder, self._stopping) for name, folder in folders.items()}
        return {**outcome, "made": made, "attached": self._attached()}

    def _attached(self) -> list[tuple[str, str]]:
        """Output and path in it of the files that are to be shown in the tracking server."""
        found, _ = events.read(Scratch(self.folder).events)
        paths = [Path(event["path"]).relative_to(self.folder / "outputs") for event in found
                 if event["kind"] == "artifact"]  # fmt: skip
        return [(path.parts[0], Path(*path.parts[1:]).as_posix()) for path in paths]

    def _kept(self, asked: Mapping[str, Any]) -> Outcome:
        warnings: list[str] = []
        outcome = offsite.kept(
            offsite.of_description(asked),
            lambda: self.outcome_of(self._sent),  # where outputs do not get there the last checkpoint has to
            scratch=Scratch(self.folder),
            keep=asked["keep"],
            warnings=warnings,
            stopped_at=lambda: self.stopped_at,
        )
        return {**outcome, "warnings": [*warnings, *outcome.get("warnings", [])]}

    def _attempt(self) -> Outcome:
        """The outcome of the worker, with empty outputs to write to."""
        scratch, order = Scratch(self.folder), self.order
        outputs = {name: output(self.folder, name) for name in order["outputs"]}
        for path in outputs.values():
            shutil.rmtree(path, ignore_errors=True)
            path.mkdir(parents=True)
        own: dict[str, Any] = {
            "inputs": {name: str(self.folder / "inputs" / name) for name in order["inputs"]},
            "outputs": {name: str(path) for name, path in outputs.items()},
            "scratch": str(self.folder),
            "cache": str(self.folder.with_name("cache") / order["component"]),
            "outcome": str(scratch.tracking / "outcome-of-the-worker.json"),
            "supervisor": os.getpid(),
            "compute": None,
        }
        path = self.folder / "order-of-the-worker.json"
        write_json(path, {**order, **own}, private=True)
        Path(own["outcome"]).unlink(missing_ok=True)
        if self._stopping():
            return {"state": INTERRUPTED, "problems": []}
        self.worker = subprocess.Popen(
            python.command("components.harness.worker", str(path)),
            pass_fds=(order["lock"],),
            preexec_fn=die_with_parent,
        )
        if self._stopping():  # while it was being started
            self.worker.send_signal(signal.SIGTERM)
        code = self.worker.wait()
        outcome = outcomes.left(Path(own["outcome"]))
        if outcome is not None and not (outcome["state"] == COMPLETE and code):
            return outcome
        if code == 0:  # another than the first node: the main process, which says how it ended, is not here
            return {"state": COMPLETE, "problems": []}
        return {"state": INTERRUPTED if self._stopping() else FAILED, "died": True, "problems": []}

    def clear(self) -> None:
        """Remove what only this work needs: what is worth keeping is in the store."""
        for name in ("inputs", "outputs", "checkpoints", "uploading"):
            shutil.rmtree(self.folder / name, ignore_errors=True)
        for name in ("order.json", "order-of-the-worker.json"):  # they hold the secret of the checkpoints
            (self.folder / name).unlink(missing_ok=True)

    def outcome_of(self, part: Callable[[], Outcome]) -> Outcome:
        """What a part of the work comes to; what goes wrong with the store is a problem with its remedy."""
        try:
            return part()
        except InputProblem as problem:
            return {"state": PROBLEMS, "problems": [f"{self.where}: {each}" for each in problem.problems]}
        except Stopped:
            return {"state": INTERRUPTED, "problems": []}
        except (NotAsWritten, FileNotFoundError) as error:
            lost = f"{self.where}: {self.files.url} does not hold what was sent ({error}): remove its folder objects"
            return {"state": PROBLEMS, "problems": [f"{lost} and run the stage again"]}
        except Exception as error:  # every store has errors of its own
            return {"state": PROBLEMS, "problems": [f"{self.where}: {self.files.url}: {said(error)}: {NO_STORE}"]}


def main() -> int:
    part, path = sys.argv[1], Path(sys.argv[2])
    node = _Node(path)
    outcome = node.outcome_of(node.fetch if part == "fetch" else node.work)
    if part == "work" or outcome["state"] != COMPLETE:
        node.clear()
    if not outcome.get("died") and (part == "work" or outcome["state"] != COMPLETE):
        # A worker that was killed left nothing, and so does this process; inputs that were fetched are no outcome.
        write_json(Path(node.order["outcome"]), outcome)
    return EXIT_CODES[outcome["state"]]


if __name__ == "__main__":
    sys.exit(main())
