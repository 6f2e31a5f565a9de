"""Goodput: the share of a run's time that goes into training it keeps, while the run is interrupted again and again.

    python -m bench.goodput [--steps 600] [--interval 12] [--seed 0] [--json]

With ``--machines`` checkpoints are kept in an S3 store too (moto's server, started here), and the faults are spot
machines that are taken back and machines that are lost, each with its disk: another one goes on from the store.

The pretrain stage runs to its end undisturbed, and again under a seeded schedule of faults after each of which it is
started anew, as a scheduler or a person would. It must end with the same bytes. Effective training time is Llama 3's
(Grattafiori et al. 2024, arXiv 2407.21783, section 3.3.4): time spent on training that counts over the time elapsed.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import random
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Annotated, Any

import psutil
import typer

from bench import corpus, faults, s3

ROOT = Path(__file__).resolve().parent.parent
LLAMA3_SECONDS = 54 * 86_400 / 466  # between interruptions of Llama 3's snapshot period
PARAMETERS = {
    "seq_length": 128,
    "per_device_batch_size": 8,
    "devices": 1,
    "log_every": 1,
    "evaluation_tokens": 4096,
    "sample_prompts": [],
}


@dataclass
class Attempt:
    """One start of the stage: clocks in seconds since the epoch.

    Attributes:
        fault: what ended it; None for the one that came to the end.
        steps: when each step was done, by its number.
        blocked: seconds that the checkpoint after a step kept the training waiting, by step.
    """

    started: float
    ended: float = 0.0
    fault: str | None = None
    code: int | None = None
    steps: dict[int, float] = field(default_factory=dict)
    blocked: dict[int, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Account:
    """Where the seconds of a run went; all but ``productive`` is overhead.

    Attributes:
        wall: from the first start to the last end.
        productive: steps that are part of the result.
        lost: steps and parts of steps that had to be done again.
        blocked: training waited for a checkpoint to be copied or written.
        starting: from a process's start to its first step.
        stopping: from a fault to the end of the last process, SIGTERM's checkpoint included.
        finishing: last evaluation, report and publishing.
    """

    wall: float
    productive: float
    lost: float
    blocked: float
    starting: float
    stopping: float
    finishing: float
    interruptions: int

    @property
    def effective(self) -> float:
        """Effective training time as a share of the wall time."""
        return self.productive / self.wall

    @property
    def cost(self) -> float:
        """Seconds that an interruption costs: the ending, the next start, and the steps done again."""
        if not self.interruptions:
            return 0.0
        restarts = self.starting * self.interruptions / (self.interruptions + 1)
        return (self.lost + self.stopping + restarts) / self.interruptions

    def effective_at(self, seconds: float) -> float:
        """Effective training time if an interruption of this cost came every ``seconds``."""
        return 1 / (1 + self.blocked / self.productive + self.cost / seconds)


def account(attempts: list[Attempt]) -> Account:
    """Add up the attempts of one run."""
    paces = [later - earlier for a in attempts for earlier, later in pairwise(a.steps.values())]
    usual = statistics.median(paces)
    last = {step: number for number, attempt in enumerate(attempts) for step in attempt.steps}
    sums = dict.fromkeys(("productive", "lost", "blocked", "starting", "stopping", "finishing"), 0.0)
    for number, attempt in enumerate(attempts):
        before = None
        for step, done in attempt.steps.items():
            # The first step of a process began about one usual step before it was done; what came before was its start.
            seconds = usual if before is None else done - attempt.steps[before] - attempt.blocked.get(before, 0.0)
            sums["productive" if last[step] == number else "lost"] += seconds
            if before is None:
                sums["starting"] += done - usual - attempt.started
            before = step
        sums["blocked"] += sum(attempt.blocked.values())
        rest = attempt.ended - attempt.steps[before] - attempt.blocked.get(before, 0.0)
        sums["finishing" if attempt.fault is None else "stopping"] += rest
    # Of the time between attempts nothing is left out.
    wall = attempts[-1].ended - attempts[0].started
    sums["stopping"] += wall - sum(sums.values())
    return Account(wall, **sums, interruptions=len(attempts) - 1)


class MeasuredWorkspace:
    """A folder in which the pretrain stage runs as in a user's clone: the code, its parameters, git, the tokens."""

    def __init__(self, folder: Path, data: Path, parameters: dict[str, Any]):
        self.root = folder
        folder.mkdir(parents=True)
        shutil.copytree(ROOT / "components", folder / "components", ignore=shutil.ignore_patterns("__pycache__"))
        for name in ("dvc.yaml", ".gitignore"):
            shutil.copy(ROOT / name, folder / name)
        (folder / "params.yaml").write_text(json.dumps({"seed": 1337, "pretrain": parameters}))
        for name in ("data/tokens", "models/tokenizer"):
            shutil.copytree(data / name, folder / name)
        for command in (
            ["init", "-q"],
            ["add", "components", "dvc.yaml", "params.yaml"],
            ["-c", "user.name=bench", "-c", "user.email=bench@example.org", "commit", "-qm", "bench"],
        ):
            subprocess.run(["git", *command], cwd=folder, check=True)

    @property
    def scratch(self) -> Path | None:
        """The stage's scratch folder, once it exists."""
        return next(iter((self.root / ".stemma/scratch/pretrain").glob("*")), None)

    def lose_disk(self) -> None:
        """Another machine is there, with the same workspace and none of the training's files; the events are kept."""
        if self.scratch is not None:
            kept = self.scratch / "tracking"
            for path in self.scratch.iterdir():
                if path != kept:
                    shutil.rmtree(path)

    def start(self) -> psutil.Popen:
        with open(self.root / "log.txt", "a") as log:
            return psutil.Popen(
                [sys.executable, "-m", "components", "pretrain"],
                cwd=self.root, stdout=log, stderr=log, start_new_session=True,
                # The benchmark itself starts the stage again after each fault, and measures that.
                env={**os.environ, "STEMMA_RESTARTS": "0"},
            )  # fmt: skip

    def events(self, offset: int = 0) -> Iterator[dict[str, Any]]:
        """What the stage reported from byte ``offset`` of its spool on; a torn line is left out."""
        path = self.scratch / "tracking/events.jsonl" if self.scratch else None
        if path is None or not path.exists():
            return
        with open(path, "rb") as file:
            file.seek(offset)
            for line in file:
                try:
                    yield json.loads(line)
                except ValueError:
                    continue

    def reported(self) -> int:
        """Bytes of the spool by now."""
        path = self.scratch / "tracking/events.jsonl" if self.scratch else None
        return path.stat().st_size if path is not None and path.exists() else 0

    def result(self) -> dict[str, str]:
        """SHA-256 of the weights and of the curves."""
        files = ("models/base/model.safetensors", "reports/pretrain/curve.csv", "reports/pretrain/validation.csv")
        return {name: hashlib.sha256((self.root / name).read_bytes()).hexdigest() for name in files}


def run(workspace: MeasuredWorkspace, plan: list[tuple[float, faults.Fault]], draw: random.Random) -> list[Attempt]:
    """Run the stage to its end; each fault of the plan strikes when it has trained for its seconds."""
    attempts: list[Attempt] = []
    for after, fault in [*plan, (float("inf"), None)]:
        attempt, offset = Attempt(time.time()), workspace.reported()
        attempts.append(attempt)
        stage = workspace.start()
        processes = [stage]
        trained_since = None
        while stage.poll() is None:
            time.sleep(0.02)
            if trained_since is None and any(map(_is_step, workspace.events(offset))):
                trained_since = time.time()
            if trained_since is not None and time.time() - trained_since >= after and len(processes) == 1:
                processes += stage.children(recursive=True)
                attempt.fault = fault.name
                fault.strike(stage, workspace, draw)
        psutil.wait_procs(processes, timeout=30)
        attempt.code, attempt.ended = stage.returncode, time.time()
        for event in workspace.events(offset):
            if _is_step(event):
                attempt.steps[event["step"]] = event["time"]
            elif event["kind"] == "point" and "checkpoint_blocking_seconds" in event["metrics"]:
                attempt.blocked[event["step"]] = event["metrics"]["checkpoint_blocking_seconds"]
        if attempt.code == 0:
            attempt.fault = None
            return attempts
        if attempt.fault is None:
            raise RuntimeError(f"the stage failed by itself: {(workspace.root / 'log.txt').read_text()[-4000:]}")
    raise RuntimeError(f"the stage did not end: {(workspace.root / 'log.txt').read_text()[-4000:]}")


def _is_step(event: dict[str, Any]) -> bool:
    return event["kind"] == "point" and "loss" in event["metrics"]


@dataclass(frozen=True)
class Result:
    """A run undisturbed and the same run under faults.

    Attributes:
        identical: both ended with the same bytes.
        faults: what ended each attempt, in order.
        warnings: those of damaged checkpoints and refused writes.
        longest_stop: seconds from the last step to the last process's end, after SIGTERM or the harness's death.
        digests: SHA-256 of what the undisturbed run ended with.
    """

    identical: bool
    undisturbed: Account
    disturbed: Account
    faults: list[str]
    warnings: list[str]
    longest_stop: float
    digests: dict[str, str]

    @property
    def interval(self) -> float:
        """Seconds of wall time between interruptions."""
        return self.disturbed.wall / max(1, self.disturbed.interruptions)


def measure(
    folder: Path,
    data: Path,
    parameters: dict[str, Any],
    *,
    interval: float,
    count: int,
    seed: int,
    kinds: Sequence[faults.Fault] = faults.KINDS,
) -> Result:
    """Run the stage in two workspaces under ``folder``, the second time under at most ``count`` faults."""
    draw = random.Random(seed)
    quiet = MeasuredWorkspace(folder / "undisturbed", data, PARAMETERS | parameters)
    first = run(quiet, [], draw)
    noisy = MeasuredWorkspace(folder / "disturbed", data, PARAMETERS | parameters)
    attempts = run(noisy, faults.plan(draw, interval, count, kinds), draw)
    warned = (faults.SIGTERM.name, faults.KILL_HARNESS.name, faults.TAKEN_BACK.name)
    signalled = [a for a in attempts if a.fault in warned]
    asked = (faults.SIGTERM.name, faults.TAKEN_BACK.name)
    wrong = [a.code for a in attempts if a.fault in asked and a.code != os.EX_TEMPFAIL]
    if wrong:
        raise RuntimeError(f"after SIGTERM the stage ended with {wrong}, not with {os.EX_TEMPFAIL} (resume)")
    return Result(
        identical=quiet.result() == noisy.result(),
        undisturbed=account(first),
        disturbed=account(attempts),
        faults=[attempt.fault for attempt in attempts if attempt.fault],
        warnings=[event["message"] for event in noisy.events() if event["kind"] == "warning"],
        longest_stop=max((a.ended - max(a.steps.values()) for a in signalled), default=0.0),
        digests=quiet.result(),
    )


def report(result: Result) -> str:
    """The result for a person."""
    quiet, noisy = result.undisturbed, result.disturbed
    lines = [f"{'seconds':<34}{'undisturbed':>12}{'with faults':>12}"]
    for name in ("wall", "productive", "lost", "blocked", "starting", "stopping", "finishing"):
        lines.append(f"{name:<34}{getattr(quiet, name):>12.1f}{getattr(noisy, name):>12.1f}")
    lines.append(f"{'effective training time, measured':<34}{quiet.effective:>12.1%}{noisy.effective:>12.1%}")
    counts = {name: result.faults.count(name) for name in dict.fromkeys(result.faults)}
    lines += [
        "",
        f"{noisy.interruptions} interruptions, one every {result.interval:.1f} s: Llama 3's one every "
        f"{LLAMA3_SECONDS:,.0f} s, {LLAMA3_SECONDS / result.interval:,.0f} times as often",
        *(f"  {count} x {name}" for name, count in counts.items()),
        *(f"  warning: {message}" for message in result.warnings),
        f"an interruption cost {noisy.cost:.2f} s (end, next start, steps done again), measured",
        f"effective training time with that cost every {LLAMA3_SECONDS:,.0f} s, computed: "
        f"{noisy.effective_at(LLAMA3_SECONDS):.2%}",
        f"longest way from SIGTERM, or the harness's death, to the last process's end: {result.longest_stop:.2f} s",
        "final weights and curves: " + ("the same bytes" if result.identical else "DIFFERENT"),
        *(f"  {digest[:16]}  {name}" for name, digest in result.digests.items()),
    ]
    return "\n".join(lines)


def main(
    steps: Annotated[int, typer.Option(min=10, help="Optimizer steps of the run.")] = 600,
    interval: Annotated[float, typer.Option(min=0.1, help="Mean seconds of training before a fault.")] = 12.0,
    count: Annotated[int, typer.Option("--faults", min=1, help="Interruptions at most.")] = 20,
    checkpoint_every: Annotated[int, typer.Option(min=1, help="Steps between checkpoints.")] = 20,
    seed: Annotated[int, typer.Option(help="Of the schedule of faults.")] = 0,
    machines: Annotated[bool, typer.Option("--machines", help="Lose whole machines; checkpoints are in S3.")] = False,
    cache: Annotated[Path, typer.Option(help="Where the bench keeps its corpus.")] = ROOT / ".stemma/bench",
    as_json: Annotated[bool, typer.Option("--json", help="Print data.")] = False,
) -> None:
    """Effective training time of a run under a seeded schedule of faults, and whether it ends with the same bytes."""
    parameters = {"steps": steps, "checkpoint_every": checkpoint_every, "evaluate_every": steps}
    cache.mkdir(parents=True, exist_ok=True)
    data = corpus.prepare(cache, vocabulary=2048)
    with tempfile.TemporaryDirectory(prefix="goodput-") as folder:
        with s3.store("goodput") if machines else contextlib.nullcontext() as url:
            result = measure(
                Path(folder), data, parameters | {"checkpoints": url}, interval=interval, count=count, seed=seed,
                kinds=faults.OF_MACHINES if machines else faults.KINDS,
            )  # fmt: skip
    if as_json:
        rate = {
            "llama3_seconds": LLAMA3_SECONDS,
            "effective_at_llama3_rate": result.disturbed.effective_at(LLAMA3_SECONDS),
        }
        print(json.dumps(asdict(result) | {"interval": result.interval, **rate}, indent=1))
    else:
        print(report(result))
    raise SystemExit(0 if result.identical else 1)


if __name__ == "__main__":
    typer.run(main)
