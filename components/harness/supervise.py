"""Runs one stage from validation to receipt. The heavy work is done by a worker process; this one stays light."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import time
from typing import Any

import psutil

from components import pages
from components.harness import offsite, outcomes
from components.harness.fingerprint import data_digest
from components.harness.job import Job, changes, make_job
from components.harness.libraries import SETTINGS, unused, worker_variables
from components.harness.outcomes import COMPLETE, EXIT_CODES, FAILED, INTERRUPTED, OF_A_RANK, PROBLEMS
from components.harness.parameters import non_default
from components.harness.receipt import Surroundings, described_inputs, is_same_work, receipt
from components.harness.remote_checkpoints import RemoteCheckpoints
from components.harness.scratch import Scratch, prepare, publish, staging_of
from components.harness.terminal import Terminal
from components.harness.tracking import Replay, ReplayThread, cause
from components.harness.worker import grace_seconds
from core import events, keys, layout, python
from core.environment import account
from core.errors import InputProblem, KeyProblem
from core.files import read_json, write_json
from core.forks import Reserve
from core.processes import adopt_orphans, notice_seconds
from core.workspace import Workspace

RESTARTS = 2  # how often a worker that dies is started again from its checkpoint; STEMMA_RESTARTS says otherwise
SHOWN_PARAMETERS, NAME_LIMIT = 3, 120  # of a run's name in MLflow
FLUSH_SECONDS = 20  # how long a finished stage waits for a tracking server that answers slowly or not at all
MLFLOW_STATUS = {COMPLETE: "FINISHED", PROBLEMS: "FAILED", FAILED: "FAILED", INTERRUPTED: "KILLED"}


def run_stage(stage: str, reserve: Reserve | None = None) -> int:
    """Run a stage in the current workspace; returns the process's exit code.

    Args:
        reserve: a child that can become the worker.
    """
    started = time.time()
    python.hide("pandas")  # MLflow's client does without it, as its distribution mlflow-skinny does
    try:
        job = make_job(stage)
        keys.signing_key(Workspace(job.root, job.home))  # the receipt will be signed; better known before the work
        notice_seconds()
    except InputProblem as problem:
        return _report_problems(stage, problem.problems)
    except KeyProblem as problem:
        return _report_problems(stage, [str(problem)])
    scratch = Scratch.of(job.home, job.slug, job.fingerprint)
    _point_to(job, scratch)
    with scratch.lock() as lock:
        if scratch.committed(job.root):
            # DVC already keeps this work's result; running it again means that it is to be made anew.
            scratch.clear()
            if (remote := offsite.place_of(job)) is not None:
                offsite.clear(remote)
        scratch.forget_older()
        return _Execution(job, scratch, lock, started, reserve).run()


class _Execution:
    """One attempt at a job: the worker, the spool's replay, and what is written when it ends."""

    def __init__(self, job: Job, scratch: Scratch, lock: int | None, started: float, reserve: Reserve | None):
        self.job, self.scratch, self.lock = job, scratch, lock
        self.started = started
        self.surroundings = Surroundings.of(job)
        self.remote = offsite.place_of(job)
        self.apart = job.compute.storage is not None  # the node that has the checkpoints keeps them in the store
        self.worker: subprocess.Popen[bytes] | Reserve | None = None
        self.reserve = reserve
        self.stopped_at: float | None = None  # when a signal asked for the end, on the monotonic clock
        self.warnings: list[str] = []

    @property
    def stop_requested(self) -> bool:
        return self.stopped_at is not None

    def run(self) -> int:
        job, scratch = self.job, self.scratch
        signal.signal(signal.SIGTERM, self._stop)
        signal.signal(signal.SIGINT, self._stop)
        self.attempts = scratch.begin_attempt(self.started)
        self._open_spool()
        thread = ReplayThread(Replay(job.home, scratch.events))
        thread.start()
        if job.skipped is not None:
            outcome = self._skip(job.skipped)
        else:
            outcome = self._attempts() if self.remote is None or self.apart else self._kept_remotely(self.remote)
        outcome["warnings"] = [*self.warnings, *outcome.get("warnings", [])]
        if outcome["state"] == COMPLETE and (changed := changes(job)):
            outcome = {"state": PROBLEMS, "problems": changed}
        self.attempts[-1]["ended"] = time.time()
        write_json(scratch.attempts, self.attempts)
        if outcome["state"] == COMPLETE:
            # The receipt names the tracking run; a server that is down leaves it null, and sync looks it up later.
            thread.wait_for_run(FLUSH_SECONDS)
            try:
                publish(job.output_paths, skipped=job.skipped is not None)
                self._write_receipt(outcome, thread.replay.cursor)
            except (KeyProblem, OSError, RuntimeError) as error:
                print(f"{job.stage}: the outputs cannot be published: {error}", file=sys.stderr)
                outcome = {"state": FAILED, "problems": [str(error)]}
        if outcome["state"] == COMPLETE:
            if self.remote is not None:
                offsite.clear(self.remote)
            self._render_page()
        if outcome["state"] in (FAILED, PROBLEMS):
            self._keep_failure(outcome, thread.replay.cursor)
        self._close_spool(outcome)
        if not thread.finish(FLUSH_SECONDS if outcome["state"] == COMPLETE and not thread.error else FLUSH_SECONDS / 4):
            if outcome["state"] == COMPLETE:
                self._keep_artifacts()
            why = cause(thread.error) if thread.error else "it answers slowly"
            print(
                f"{job.stage}: MLflow update incomplete ({why}). Nothing is lost: the metrics are kept in "
                f"{scratch.events} and are sent at the next run or sync, or by `python -m components replay`.",
                file=sys.stderr,
            )
        if outcome["state"] == PROBLEMS:
            return _report_problems(job.stage, outcome["problems"], job)
        if outcome.get("died"):
            print(f"{job.stage}: {outcome['problems'][0]}", file=sys.stderr)
        if outcome["state"] == INTERRUPTED:
            print(f"{job.stage}: stopped; the next run goes on from its last checkpoint.", file=sys.stderr)
        return EXIT_CODES[outcome["state"]]

    def _open_spool(self) -> None:
        job, about = self.job, self.surroundings
        self._append(
            "open",
            name=_shown_name(job),
            run=job.run,
            seed=job.seed,
            parameters=job.parameters.model_dump(mode="json"),
            environment=about.environment,
            inputs=described_inputs(job),
            tags={
                "stemma.stage": job.stage,
                "stemma.fingerprint": job.fingerprint,
                "stemma.component_version": job.component.version,
                "stemma.code_digest": job.code,
                "stemma.run": job.run,
                "stemma.git_dirty": str(about.git["dirty"]).lower(),
                "mlflow.source.name": f"python -m components {job.stage}",
                "mlflow.source.type": "PROJECT",
                "mlflow.user": account(),
                **({"mlflow.source.git.commit": about.git["commit"]} if about.git["commit"] else {}),
                **{f"stemma.prefect.{name}": value for name, value in about.prefect.items() if value},
            },
        )

    def _close_spool(self, outcome: dict[str, Any]) -> None:
        self._append(
            "close",
            status=MLFLOW_STATUS[outcome["state"]],
            tags={
                "stemma.state": outcome["state"],
                "stemma.device": outcome.get("device", ""),
                **({"stemma.skipped": self.job.skipped} if self.job.skipped else {}),
            },
        )

    def _append(self, kind: str, **body: Any) -> None:
        """Add an event of the harness; a line that a killed process left torn is ended first."""
        events.end_torn_line(self.scratch.events)
        events.append(self.scratch.events, kind, **body)

    def _warn(self, message: str) -> None:
        print(f"{self.job.stage}: {message}", file=sys.stderr)
        self.warnings.append(message)
        self._append("warning", message=message)

    def _stop(self, *_: object) -> None:
        if self.stopped_at is None:
            self.stopped_at = time.monotonic()
            if self.worker is not None:
                self.worker.send_signal(signal.SIGTERM)

    def _kept_remotely(self, remote: RemoteCheckpoints) -> dict[str, Any]:
        return offsite.kept(
            remote,
            self._attempts,
            scratch=self.scratch,
            keep=self._keep,
            warnings=self.warnings,
            stopped_at=lambda: self.stopped_at,
        )

    @property
    def _keep(self) -> int:
        """Newest checkpoints that stay in the store: of the fine-tuning stages as many as their trainer leaves here."""
        return int(getattr(self.job.parameters, "keep_last", 2))

    def _attempts(self) -> dict[str, Any]:
        """The outcome of the worker, started again a few times from its checkpoint where it dies."""
        outcome = self._attempt()
        restarts = int(os.environ.get("STEMMA_RESTARTS", RESTARTS)) if self.job.component.resumable else 0
        for number in range(1, restarts + 1):
            if not outcome.get("died") or self.stop_requested:
                break
            self._warn(f"{outcome['problems'][0]}; started again from its checkpoint ({number} of at most {restarts})")
            self.attempts = self.scratch.begin_attempt(time.time())
            outcome = self._attempt()
        return outcome

    def _attempt(self) -> dict[str, Any]:
        """One worker's outcome, with empty outputs to write to."""
        prepare(self.job.output_paths)
        self.scratch.outcome.unlink(missing_ok=True)
        self.scratch.outcome.with_name(OF_A_RANK).unlink(missing_ok=True)
        return self._work()

    def _skip(self, reason: str) -> dict[str, Any]:
        """The outcome of a stage that has nothing to do: empty outputs, and a report that says why."""
        prepare(self.job.output_paths)
        for artifact in self.job.outputs:
            if artifact.type == "report":
                write_json(staging_of(self.job.root / artifact.path) / "report.json", {"skipped": reason})
        print(f"{self.job.stage}: skipped: {reason}", file=sys.stderr)
        return {"state": COMPLETE, "problems": [], "metrics": [], "headline": None, "tokens": 0, "device": "cpu"}

    def _work(self) -> dict[str, Any]:
        """Run the worker to its end, showing progress; the outcome it left, or what its death means."""
        job, scratch = self.job, self.scratch
        order = {
            "component": job.component.name,
            "instance": job.instance,
            "parameters": job.parameters.model_dump(mode="json"),
            "seed": job.seed,
            "inputs": {artifact.name: str(job.root / artifact.path) for artifact, _, _ in job.inputs},
            "outputs": {a.name: str(staging_of(job.root / a.path)) for a in job.outputs},
            "scratch": str(scratch.folder),
            "cache": str(layout.cache(job.home) / job.component.name),
            "events": str(scratch.events),
            "outcome": str(scratch.outcome),
            "nodes": getattr(job.parameters, "nodes", 1),
            "processes": self.surroundings.processes,
            "supervisor": os.getpid(),
            "compute": job.compute.model_dump() if job.compute.kind != "local" else None,
            "checkpoints": offsite.described(self.remote, self._keep) if self.remote and self.apart else None,
            "root": str(job.root),
            "environment": SETTINGS,
        }
        adopt_orphans()
        self.worker = worker = self._start_worker(order)
        # A node that is asked to end needs the machine's notice for its upload too.
        patience = notice_seconds() if self.apart else grace_seconds() + 3
        if self.stop_requested:  # while it was being started
            worker.send_signal(signal.SIGTERM)
        with Terminal(job.stage, scratch.events) as terminal:
            while (returncode := worker.poll()) is None:
                terminal.update()
                time.sleep(0.1)
                if self.stopped_at is not None and time.monotonic() > self.stopped_at + patience:
                    worker.kill()
            terminal.update()
        _end_leftovers()
        return self._outcome(returncode)

    def _outcome(self, returncode: int) -> dict[str, Any]:
        outcome = outcomes.left(self.scratch.outcome)
        if outcome is not None and not (outcome["state"] == COMPLETE and returncode):
            return outcome
        if self.stop_requested:
            return {"state": INTERRUPTED, "problems": []}
        how = f"by signal {signal.Signals(-returncode).name}" if returncode < 0 else f"with exit code {returncode}"
        if returncode == -signal.SIGKILL:
            how += " (the system may have run out of memory)"
        return {"state": FAILED, "died": True, "problems": [f"the worker ended {how} and left no result"]}

    def _start_worker(self, order: dict[str, Any]) -> subprocess.Popen[bytes] | Reserve:
        path = self.scratch.tracking / "order.json"
        write_json(path, order, private=True)
        job, inherited = self.job, () if self.lock is None else (self.lock,)
        environment = {
            **os.environ,
            **worker_variables(self.surroundings.processes),
            "PYTHONPATH": python.with_code_of(job.root, os.environ),
        }
        reserve, self.reserve = self.reserve, None
        if reserve is not None:
            if reserve.would_do(environment, set(unused(order["parameters"], order["inputs"]))):
                isolated = {**environment, python.SAFE_PATH: "1"}
                with contextlib.suppress(OSError):  # it has ended; then as without it
                    reserve.become("components.harness.worker", str(path), cwd=job.root, env=isolated, keep=inherited)
                    return reserve
            reserve.dismiss()
        command = python.command("components.harness.worker", str(path))
        return subprocess.Popen(command, cwd=job.root, env=environment, pass_fds=inherited)

    def _write_receipt(self, outcome: dict[str, Any], cursor: dict[str, Any]) -> None:
        """Write ``metrics/<slug>.json`` and ``receipts/<slug>.json``, the receipt last."""
        job = self.job
        write_json(job.root / "metrics" / f"{job.slug}.json", {m["name"]: m["value"] for m in outcome["metrics"]})
        made = {a.name: data_digest(job.root / a.path) for a in job.outputs} if job.skipped is None else {}
        body = self._receipt(outcome, cursor, made)
        if (earlier := read_json(self.scratch.receipt, None)) is not None:
            # This work was finished before, and DVC noted it not, or others since; what it made then may be recorded.
            if "signature" in earlier and is_same_work(earlier, body):
                body = earlier
            else:
                self.attempts = self.attempts[-1:]
                body = self._receipt(outcome, cursor, made)
        if body is not earlier:
            body = keys.with_signature(Workspace(job.root, job.home), body)
        write_json(job.root / "receipts" / f"{job.slug}.json", body)
        write_json(self.scratch.receipt, body)

    def _render_page(self) -> None:
        """Lay out the report to be read; the page is no output, so a problem of the layout fails no stage."""
        try:
            page = pages.render(self.job.root, self.job.stage)
        except (OSError, ValueError) as error:
            print(f"{self.job.stage}: {error}", file=sys.stderr)
            return
        if page is not None:
            self._append("artifact", path=str(page))

    def _keep_failure(self, outcome: dict[str, Any], cursor: dict[str, Any]) -> None:
        """Leave a receipt of the failure where the next sync of any worktree finds it; the registry keeps failures."""
        last = self.attempts[-1]
        unknown: dict[str, Any] = {"metrics": [], "headline": None, "warnings": [], "device": None, "tokens": None}
        body = {
            **self._receipt({**unknown, **outcome}, cursor, {}),
            "error": "\n".join(outcome["problems"]),
            "started": last["started"],
            "seconds": last["ended"] - last["started"],
        }
        name = f"{self.job.slug}-{self.job.fingerprint}-{round(last['started'] * 1000)}.json"
        with contextlib.suppress(OSError):  # a full disk is what may have failed it
            write_json(layout.failures(self.job.home) / name, body)

    def _receipt(
        self, outcome: dict[str, Any], cursor: dict[str, Any], made: dict[str, tuple[str, int]]
    ) -> dict[str, Any]:
        return receipt(self.job, self.surroundings, outcome, self.attempts, cursor, made)

    def _keep_artifacts(self) -> None:
        """Copy the report and its page beside the spool: a later run may overwrite them before MLflow gets them."""
        for artifact, path in zip(self.job.outputs, self.job.output_paths, strict=True):
            if artifact.type == "report" and path.exists():
                shutil.copytree(path, self.scratch.tracking / "kept", dirs_exist_ok=True)
        page = pages.path_of(self.job.root, self.job.stage)
        if page.exists():
            shutil.copy2(page, self.scratch.tracking / "kept")


def _end_leftovers() -> None:
    """Wait for what outlives the worker (ranks whose launcher was killed save their checkpoint), then end it.

    Until then the next attempt must not touch the scratch folder.
    """
    own = psutil.Process()
    psutil.wait_procs(own.children(recursive=True), timeout=grace_seconds() + 1)
    for process in own.children(recursive=True):
        with contextlib.suppress(psutil.NoSuchProcess):
            process.kill()


def _point_to(job: Job, scratch: Scratch) -> None:
    """Leave word of where this stage's events appear, for the process that started the pipeline run."""
    write_json(layout.events_pointer(job.home, job.run, job.stage), str(scratch.events))
    layout.problems(job.home, job.run, job.stage).unlink(missing_ok=True)


def _report_problems(stage: str, problems: list[str], job: Job | None = None) -> int:
    count = "1 problem" if len(problems) == 1 else f"{len(problems)} problems"
    print(f"{stage}: {count}, nothing was changed", file=sys.stderr)
    for problem in problems:
        print(f"  {problem}", file=sys.stderr)
    if run := os.environ.get("STEMMA_RUN"):
        try:
            home = job.home if job else Workspace.find().home
        except InputProblem:
            return EXIT_CODES[PROBLEMS]  # printed above; there is nowhere to leave it
        write_json(layout.problems(home, run, stage), problems)
    return EXIT_CODES[PROBLEMS]


def _shown_name(job: Job) -> str:
    """The stage and what its parameters say otherwise than the defaults, as MLflow's tables show it."""
    found = [f"{name}={value}" for name, value in sorted(non_default(job.parameters).items())]
    more = [f"+{len(found) - SHOWN_PARAMETERS}"] if len(found) > SHOWN_PARAMETERS else []
    return " ".join([job.stage, *found[:SHOWN_PARAMETERS], *more])[:NAME_LIMIT]
