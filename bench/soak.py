"""Random faults against the commands that change a workspace, and what must hold after each.

    python -m bench.soak [--trials 50] [--seed 0] [--keep FOLDER] [--json]

A workspace of its own (a clone of this repository with a small corpus and a model of 50 thousand parameters) goes
through trials. In each a command runs (run, promote, rollback, sync, gc, backup) and one fault strikes it at a random
moment: its processes are killed, or one of them, or all are stopped for seconds, or the disk refuses to grow files, or
the newest checkpoint is damaged after a kill. Then the same command runs again undisturbed and has to succeed; then:

- no process of the workspace is left;
- nothing half-written stands where a whole thing belongs;
- the weights are, byte for byte, those of an undisturbed training with the same parameters;
- MLflow has every point of every training's curve, once;
- `stemma audit` finds that everything holds.
"""

from __future__ import annotations

import hashlib
import json
import os
import random
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Annotated

import psutil
import typer

from bench import faults

ROOT = Path(__file__).resolve().parent.parent
STEPS = 24
SEEDS = (1, 2, 3)  # of the trainings: each has its weights, and comes again and again
SETTINGS = {
    "curate.sources": [{"type": "files", "paths": ["data/raw/*.txt"]}],
    "curate.instructions.source": "files",
    "curate.instructions.files.instruct": ["data/raw/pairs.jsonl"],
    "curate.labels.source": "none",
    "tokenize.vocabulary_size": 400,
    "pretrain.architecture.hidden_size": 32,
    "pretrain.architecture.intermediate_size": 64,
    "pretrain.architecture.num_hidden_layers": 2,
    "pretrain.seq_length": 64,
    "pretrain.per_device_batch_size": 4,
    "pretrain.devices": 1,
    "pretrain.steps": STEPS,
    "pretrain.log_every": 1,
    "pretrain.checkpoint_every": 5,
    "pretrain.evaluate_every": STEPS,
    "pretrain.evaluation_tokens": 512,
    "pretrain.sample_prompts": [],
    "promotion": {"base": {"bits_per_byte": {"max": 20.0, "max_drop": 20.0}}},
}
COMMANDS = ("run", "promote", "rollback", "sync", "gc", "backup")
LIMIT = 600.0
"""Seconds within which a command has to end: minutes more than it needs, so that a busy machine is no finding."""


@dataclass
class Trial:
    """One command under one fault.

    Attributes:
        after: seconds from the command's start to the fault; 0 for a fault that is there from the start.
        code: what the disturbed command ended with; below 0 the number of the signal.
        seconds: that the disturbed command, its repetition and the checks took.
        broken: what did not hold afterwards.
    """

    number: int
    command: str
    fault: str
    after: float = 0.0
    code: int | None = None
    seconds: list[float] = field(default_factory=list)
    broken: list[str] = field(default_factory=list)


class Soak:
    """The workspace under test, and what is known of its undisturbed state."""

    def __init__(self, folder: Path, draw: random.Random):
        self.folder, self.root, self.draw = folder, folder / "workspace", draw
        self.environment = {
            **{k: v for k, v in os.environ.items() if not k.startswith(("STEMMA_", "MLFLOW_", "PREFECT_", "DVC_"))},
            "DVC_SITE_CACHE_DIR": str(folder / "site"),
            "STEMMA_SOAK": str(folder),  # by which the processes of this workspace are known
            "PYTHONPATH": str(self.root),  # its code is what is tested, in every process
        }
        self.weights: dict[int, str] = {}
        self.trained = SEEDS[-1]  # whose model the workspace has now
        self.seconds: dict[str, float] = {}  # that each command takes undisturbed: a fault strikes within them

    def prepare(self) -> None:
        """Clone, settle the parameters, and train each model once without a fault."""
        subprocess.run(["git", "clone", "-q", str(ROOT), str(self.root)], check=True)
        raw = self.root / "data/raw"
        raw.mkdir(parents=True, exist_ok=True)
        words = "the model reads a file and writes what it found into another one for the next stage to take".split()
        for number in range(6):
            lines = (" ".join(self.draw.choices(words, k=60)) + "." for _ in range(60))
            (raw / f"part{number}.txt").write_text("\n".join(lines))
        rows = (
            {"prompt": f"what follows {word}?", "completion": f"{word} {other}"} for word in words for other in words
        )
        (raw / "pairs.jsonl").write_text("\n".join(json.dumps(row) for row in rows))
        for seed in SEEDS:
            self.seconds["run"] = self.expect(self.command("run", seed))
            self.weights[seed] = self.digest()
        for seed in SEEDS:  # each version has held the alias, so a rollback can go to any
            for name in ("promote", "sync", "gc", "backup"):
                self.seconds[name] = self.expect(self.command(name, seed))
        self.seconds["rollback"] = self.expect(self.command("rollback", SEEDS[0]))

    def command(self, name: str, seed: int) -> list[str]:
        """The arguments of a command; ``seed`` decides which training or version it is about."""
        if name == "run":
            changes = {**SETTINGS, "pretrain.learning_rate": 0.001 * seed}
            settings = [part for path, value in changes.items() for part in ("--set", f"{path}={json.dumps(value)}")]
            return ["run", "--until", "pretrain", *settings]
        version = 1 + seed % len(SEEDS)
        return {
            "promote": ["promote", f"base:{version}", "--to", "champion", "--reason", "trial", "--force"],
            "rollback": ["rollback", "base", "--to-version", str(version), "--reason", "trial"],
            "sync": ["sync"],
            "gc": ["gc", "--delete"],
            "backup": ["backup", "create", str(self.folder / "backups")],
        }[name]

    def forget_training(self) -> None:
        """Have the next run train: without DVC's memory of runs nothing is restored instead."""
        shutil.rmtree(self.root / ".dvc/cache/runs", ignore_errors=True)
        shutil.rmtree(self.root / ".stemma/cache/runs", ignore_errors=True)

    def start(self, arguments: list[str], limit: int | None = None) -> psutil.Popen:
        """Start `stemma`; ``limit``: bytes above which no file can grow, as on a full disk."""

        def refuse() -> None:
            signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
            resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))

        with open(self.folder / "log.txt", "a") as log:
            return psutil.Popen(
                [sys.executable, "-m", "cli", *arguments], cwd=self.root, env=self.environment,
                stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True,
                preexec_fn=refuse if limit is not None else None,
            )  # fmt: skip

    def expect(self, arguments: list[str]) -> float:
        """Run a command undisturbed; returns the seconds that it took.

        Raises:
            RuntimeError: it failed, or did not end in time; with what it printed last.
        """
        at = (self.folder / "log.txt").stat().st_size if (self.folder / "log.txt").exists() else 0
        process, began = self.start(arguments), time.monotonic()
        try:
            code = process.wait(LIMIT)
        except psutil.TimeoutExpired:
            _kill_all(self, process)
            code = f"kill -9 after {LIMIT:.0f} s"
        if code != 0:
            printed = (self.folder / "log.txt").read_bytes()[at:].decode(errors="replace")
            if "already" not in printed:  # what the disturbed command had done is not done twice
                raise RuntimeError(f"`stemma {arguments[0]}` ended with {code}: {printed[-1500:]}")
        return time.monotonic() - began

    def digest(self) -> str:
        return hashlib.sha256((self.root / "models/base/model.safetensors").read_bytes()).hexdigest()

    def alive(self) -> list[psutil.Process]:
        """Processes of this workspace, by a variable in their environment."""
        found = []
        for process in psutil.process_iter():
            try:
                if process.environ().get("STEMMA_SOAK") == str(self.folder) and process.status() != "zombie":
                    found.append(process)
            except psutil.Error:
                continue
        return found

    def broken(self, command: str, seed: int) -> list[str]:
        """What does not hold, after the undisturbed repetition."""
        found = []
        deadline = time.monotonic() + 10
        while (left := self.alive()) and time.monotonic() < deadline:
            time.sleep(0.2)
        found += [f"a process is left: {' '.join(process.cmdline())[:120]}" for process in left]
        for folder in ("models", "data", "reports", "metrics", "receipts"):
            found += [f"half-written: {path}" for path in (self.root / folder).rglob("*.partial")]
        if command == "run":
            if self.digest() != self.weights[seed]:
                found.append("the weights are not those of the undisturbed training")
            found += self.missing_points()
        audit = subprocess.run(
            [sys.executable, "-m", "cli", "audit"], cwd=self.root, env=self.environment, capture_output=True, text=True
        )
        if audit.returncode:
            found.append(f"audit: {(audit.stdout + audit.stderr).strip()[-800:]}")
        return found

    def missing_points(self) -> list[str]:
        """What MLflow lacks of the training; a receipt from before MLflow could be reached names no run."""
        from mlflow import MlflowClient

        receipt = json.loads((self.root / "receipts/pretrain.json").read_text())
        client = MlflowClient(f"sqlite:///{self.root / '.stemma/mlflow.db'}")
        experiment = client.get_experiment_by_name("stemma").experiment_id
        tag = f"tags.`stemma.fingerprint` = '{receipt['fingerprint']}'"
        runs = [receipt["mlflow"]["run_id"]] if receipt["mlflow"]["run_id"] else [
            run.info.run_id for run in client.search_runs([experiment], tag)
        ]  # fmt: skip
        found = [sorted({point.step for point in client.get_metric_history(run, "loss")}) for run in runs]
        return [] if list(range(1, STEPS + 1)) in found else [f"points of the curve in MLflow: {found or 'no run'}"]


def _kill_all(soak: Soak, process: psutil.Popen) -> None:
    for each in soak.alive():
        _signal(each, signal.SIGKILL)


def _kill_one(soak: Soak, process: psutil.Popen) -> None:
    if alive := soak.alive():
        _signal(soak.draw.choice(alive), signal.SIGKILL)


def _hang(soak: Soak, process: psutil.Popen) -> None:
    stopped = soak.alive()
    for each in stopped:
        _signal(each, signal.SIGSTOP)
    time.sleep(soak.draw.uniform(1, 4))
    for each in stopped:
        _signal(each, signal.SIGCONT)


def _damage(soak: Soak, process: psutil.Popen) -> None:
    _kill_all(soak, process)
    time.sleep(0.5)
    saved = [path for path in (soak.root / ".stemma/scratch").glob("pretrain/*/checkpoints/step-*/*") if path.is_file()]
    if saved:
        faults.damage(max(saved, key=lambda path: path.stat().st_mtime), soak.draw)


def _signal(process: psutil.Process, number: int) -> None:
    try:
        process.send_signal(number)
    except psutil.Error:
        return


FAULTS: dict[str, Callable[[Soak, psutil.Popen], None] | None] = {
    "kill -9 of all": _kill_all,
    "kill -9 of one": _kill_one,
    "stopped for seconds": _hang,
    "disk full": None,  # from the start: files grow to a random size and no further
    "kill -9, checkpoint damaged": _damage,
}


def trial(soak: Soak, number: int) -> Trial:
    """One command, one fault, the repetition, and the checks."""
    command = soak.draw.choice(["run", "run", *COMMANDS])
    # A run with the parameters of the one before would find everything done.
    seed = soak.draw.choice([seed for seed in SEEDS if command != "run" or seed != soak.trained])
    done = Trial(number, command, soak.draw.choice(list(FAULTS)))
    arguments = soak.command(command, seed)
    began = time.monotonic()
    try:
        process = disturb(soak, done, arguments)
        try:
            done.code = process.wait(LIMIT)
        except psutil.TimeoutExpired:
            _kill_all(soak, process)
            raise RuntimeError(f"the command did not end within {LIMIT:.0f} s") from None
        disturbed = time.monotonic()
        repeated = soak.expect(arguments)
        soak.trained = seed if command == "run" else soak.trained
        done.seconds = [round(disturbed - began, 1), round(repeated, 1)]
        done.broken = soak.broken(command, seed)
        done.seconds.append(round(time.monotonic() - disturbed - repeated, 1))
    except RuntimeError as error:
        done.broken.append(str(error))
    return done


def disturb(soak: Soak, done: Trial, arguments: list[str]) -> psutil.Popen:
    """Start the command and strike it with the fault.

    One that ended before its moment came runs again and is struck in half the time: it may have less to do then.
    """
    strike, part = FAULTS[done.fault], soak.draw.random()
    limit = soak.draw.randrange(1000, 2_000_000)
    while True:
        if done.command == "run":
            soak.forget_training()
        process = soak.start(arguments, limit=None if strike else limit)
        if strike is None:
            return process
        done.after = part * soak.seconds[done.command]
        part /= 2
        try:
            process.wait(done.after)
        except psutil.TimeoutExpired:
            strike(soak, process)
            return process


def main(
    trials: Annotated[int, typer.Option(help="How many.")] = 50,
    seed: Annotated[int, typer.Option(help="Of the commands, the faults and their moments.")] = 0,
    keep: Annotated[Path | None, typer.Option(help="An empty folder to work in, which stays.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Disturb the commands of a workspace at random, and check what must hold; ends with 1 where something does not."""
    folder = keep or Path(tempfile.mkdtemp(prefix="stemma-soak-"))
    soak = Soak(folder.resolve(), random.Random(seed))
    soak.prepare()
    undisturbed = ", ".join(f"{name} {soak.seconds[name]:.0f}" for name in COMMANDS)
    print(f"seconds of each command undisturbed: {undisturbed}", file=sys.stderr, flush=True)
    done: list[Trial] = []
    for number in range(1, trials + 1):
        done.append(each := trial(soak, number))
        words = "holds" if not each.broken else "BROKEN: " + "; ".join(each.broken)
        line = f"{number:3} {each.command:8} {each.fault:28} after {each.after:4.1f} s, ended with {each.code}"
        print(f"{line}, took {' + '.join(map(str, each.seconds))} s: {words}", file=sys.stderr, flush=True)
    sound = sum(not each.broken for each in done)
    if as_json:
        print(json.dumps({"seed": seed, "sound": sound, "trials": [asdict(each) for each in done]}, indent=1))
    else:
        print(f"{sound} of {trials} trials hold (seed {seed})")
    if keep is None and sound == trials:
        shutil.rmtree(folder)
    raise SystemExit(0 if sound == trials else 1)


if __name__ == "__main__":
    typer.run(main)
