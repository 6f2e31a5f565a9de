"""One measurement: the order that a trainer is given, and the run that carries it out."""

from __future__ import annotations

import json
import os
import queue
import shutil
import sys
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from bench import corpus as corpora
from bench.environments import REQUIREMENTS, python_of
from bench.launch import ROOT, clocks, commands, run_pinned
from bench.results import Results
from bench.variants import BATCH, CONTEXT, SMALL, WARMUP, Variant
from components import code
from components.harness.fingerprint import code_digest


@dataclass(frozen=True)
class Cell:
    """What is to be measured.

    Attributes:
        variant: the trainer and its settings.
        cores: on how many cores.
        steps: training steps.
        seed: of weights and order of the data.
        learning_rate: AdamW's peak rate, by which our Muon's is scaled with it; ``None`` leaves the defaults.
        round: number of the repetition; with ``None`` the cell is made once.
        score: whether the weights are scored on the held-out tokens.
        profile: whether the steps are profiled; their clocks are then slower than they should be.
    """

    variant: Variant
    cores: int
    steps: int
    seed: int = 0
    learning_rate: float | None = None
    round: int | None = None
    score: bool = False
    profile: bool = False

    @property
    def title(self) -> str:
        """The cell in words."""
        rate = "" if self.learning_rate is None else f", rate {self.learning_rate:g}"
        return f"{self.variant.name}: {self.steps} steps, {self.cores} core(s), seed {self.seed}{rate}"


@dataclass
class Bench:
    """Where the bench keeps things, and what every cell of it has in common."""

    folder: Path
    corpus: Path
    results: Results
    shape: dict[str, Any] = field(default_factory=lambda: dict(SMALL))
    context: int = CONTEXT
    batch: int = BATCH
    commands: Callable[[str, Path, Path], list[list[str | Path]]] = commands
    python: Callable[[str, Path], Path] = python_of

    def __post_init__(self) -> None:
        self._tokens = corpora.digest(self.corpus)
        self._index = json.loads((self.corpus / "data/tokens/index.json").read_text())

    def measure(self, cell: Cell, cores: Sequence[int]) -> dict[str, Any]:
        """The cell's clocks (and score), from the results if they are there already.

        Raises:
            TrainerFailed: the trainer or the score ended badly.
        """
        return self.results.get(self.order(cell), lambda: self._run(cell, cores))

    def measure_all(self, cells: Sequence[Cell], jobs: int = 1) -> None:
        """Measure cells in their order, ``jobs`` of them side by side, each on cores of its own."""
        allowed = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else range(os.cpu_count() or 1)
        free: queue.SimpleQueue[int] = queue.SimpleQueue()
        for place in range(jobs):
            free.put(place)

        def one(cell: Cell) -> None:
            if self.known(cell):
                return
            place = free.get()
            try:
                print(f"{cell.title} ...", flush=True)
                self.measure(cell, allowed[place * cell.cores : (place + 1) * cell.cores])
            finally:
                free.put(place)

        with ThreadPoolExecutor(jobs) as pool:
            for done in [pool.submit(one, cell) for cell in cells]:
                try:
                    done.result()
                except BaseException:
                    pool.shutdown(cancel_futures=True)
                    raise

    def known(self, cell: Cell) -> bool:
        """Whether the results hold the cell."""
        return self.results.has(self.order(cell))

    def order(self, cell: Cell) -> dict[str, Any]:
        """All that determines the measurement, and nothing of where it is made."""
        body = {name: value for name, value in asdict(cell).items() if name != "variant"}
        return {
            **body,
            "variant": cell.variant.name,
            "trainer": cell.variant.trainer,
            "precision": cell.variant.precision,
            "settings": cell.variant.settings,
            "warmup_steps": 0 if cell.learning_rate is None else _peers_warmup(cell.steps),
            "shape": self.shape,
            "context": self.context,
            "batch": self.batch,
            "corpus": self._tokens,
            "program": _program(cell.variant.trainer),
        }

    def _run(self, cell: Cell, cores: Sequence[int]) -> dict[str, Any]:
        name = f"{cell.variant.name}-{cell.steps}-{cell.seed}-{cell.learning_rate}-{cell.round}-{cores[0]}"
        folder = self.folder / "runs" / name
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        order = folder / "order.json"
        body = {
            **self.order(cell),
            "folder": str(folder),
            "data": str(self.corpus),
            "tokens": str(self.corpus / "data/tokens" / self._index["splits"]["train"]["shards"][0]["file"]),
            "dtype": self._index["dtype"],
            "marks": str(folder / "marks.jsonl"),
        }
        order.write_text(json.dumps(body))
        ours = cell.variant.trainer == "stemma"
        python = Path(sys.executable) if ours else self.python(cell.variant.trainer, self.folder / "environments")
        for command in self.commands(cell.variant.trainer, order, python):
            run_pinned(command, cores, folder / "log.txt")
        result = clocks(folder / "marks.jsonl")
        if len(result["cpu"]) < cell.steps:
            raise RuntimeError(f"{cell.variant.name} made {len(result['cpu'])} of {cell.steps} steps: {folder}/log.txt")
        if cell.score:
            result["score"] = json.loads((folder / "score.json").read_text())
        if cell.profile:
            result["profile"] = json.loads((folder / "profile.json").read_text())
        shutil.rmtree(folder)
        return result


def _peers_warmup(steps: int) -> int:
    """Warm-up steps of the peers: both begin it at a rate of 0, so that a single one would be a step thrown away."""
    warmup = round(WARMUP * steps)
    return warmup if warmup > 1 else 0


def _program(trainer: str) -> str:
    """Digest of what is measured: our stage's code, or the pins of the peer."""
    if trainer == "stemma":
        return code_digest(ROOT, code.of("pretrain"))[:16]
    return code_digest(REQUIREMENTS, [f"{trainer}.txt"])[:16]
