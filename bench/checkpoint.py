"""How long a checkpoint keeps a training waiting, beside PyTorch's own asynchronous saving, and the time of a return.

    python -m bench.checkpoint [--seconds 150] [--json]

One process on one core trains the benches' model (Llama, 6 layers, width 320, 12.7M parameters, batch 16 x 256) and
saves by turns with the stage's TrainingState and with torch.distributed.checkpoint.async_save, as it is by default and
with a stager that is kept, so that whatever else the machine does falls on all alike. A fourth way is the first with a
process beside it, as the harness is, that copies each checkpoint to an S3 server (moto's, on this machine). Shares are
given by the clock and in processor time of the training's thread, which other work on the machine does not stretch.
"""

from __future__ import annotations

import contextlib
import json
import multiprocessing
import os
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Annotated, Any

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # before torch is imported

import torch
import torch.distributed.checkpoint as dcp
import typer
from accelerate import Accelerator
from torch.distributed.checkpoint.staging import DefaultStager, StagingOptions
from transformers import PreTrainedModel

from bench import s3
from components import optimizers
from components.contract import Context
from components.harness.remote_checkpoints import RemoteCheckpoints
from components.harness.uploads import Uploads
from components.pretrain.architecture import from_scratch
from components.pretrain.parameters import Architecture, PretrainParameters
from components.pretrain.training_state import LoopState, TrainingState

ARCHITECTURE = Architecture(
    hidden_size=320, intermediate_size=864, num_hidden_layers=6, num_attention_heads=5, tie_word_embeddings=False
)
CONTEXT, BATCH = 256, 16
COPIED = "copied"  # folder of the checkpoints that are copied to S3


class Vocabulary(SimpleNamespace):
    """What of a tokenizer a model is made from."""

    def __len__(self) -> int:
        return self.size


class CheckpointBench:
    """A model in training, and the ways to save it."""

    def __init__(self, folder: Path, uploaded: multiprocessing.SimpleQueue[str]):
        torch.manual_seed(0)
        vocabulary = Vocabulary(size=8192, bos_token_id=0, eos_token_id=0, pad_token_id=0)
        self.model: PreTrainedModel = from_scratch(ARCHITECTURE, CONTEXT, vocabulary)
        self.optimizer = optimizers.build(self.model)
        self.folder = folder
        parameters = PretrainParameters(
            architecture=ARCHITECTURE, seq_length=CONTEXT, per_device_batch_size=BATCH, devices=1
        )
        self.state, self.copied_state = (
            TrainingState(
                Context(parameters=parameters, seed=0, inputs={}, outputs={}, scratch=folder / name),
                Accelerator(cpu=True), self.model, self.optimizer,
            )
            for name in ("ours", COPIED)
        )  # fmt: skip
        self.uploaded = uploaded
        self.stager = DefaultStager(StagingOptions(False, False, False, False))
        self.saves = 0

    def step(self) -> tuple[float, float]:
        """One optimizer step; its seconds by the clock and of this thread's processor time."""
        return _timed(self._step)[1:]

    def _step(self) -> None:
        ids = torch.randint(0, 8192, (BATCH, CONTEXT))
        self.model(input_ids=ids, labels=ids, use_cache=False).loss.backward()
        self.optimizer.step()
        self.optimizer.zero_grad()

    def ours(self) -> Callable[[], Any]:
        self.state.save(LoopState(step=self.saves))
        return self.state.wait

    def ours_copied(self) -> Callable[[], Any]:
        self.copied_state.save(LoopState(step=self.saves))
        return self._wait_for_copy

    def _wait_for_copy(self) -> None:
        self.copied_state.wait()
        self.uploaded.get()

    def dcp_default(self) -> Callable[[], Any]:
        return dcp.async_save(self._state(), checkpoint_id=self.folder / f"dcp-{self.saves}", no_dist=True).result

    def dcp_kept_stager(self) -> Callable[[], Any]:
        folder = self.folder / f"dcp-{self.saves}"
        return dcp.async_save(self._state(), checkpoint_id=folder, no_dist=True, async_stager=self.stager).result

    def _state(self) -> dict[str, Any]:
        return {"model": self.model.state_dict(), "optimizer": self.optimizer.state_dict()}

    def turn(self, save: Callable[[], Callable[[], Any]]) -> dict[str, float]:
        """A plain step, a save, a step beside the writing, and the wait for the disk; seconds."""
        clock, processor = self.step()
        self.saves += 1
        before = time.process_time() - time.thread_time()
        wait, blocked, blocked_processor = _timed(save)
        step_beside, step_beside_processor = self.step()
        wait()
        # What threads other than this one took.
        beside = time.process_time() - time.thread_time() - before
        return {
            "step": clock,
            "step_processor": processor,
            "blocked": blocked,
            "blocked_processor": blocked_processor,
            "beside": beside,
            "step_beside": step_beside,
            "step_beside_processor": step_beside_processor,
        }

    def resume(self) -> float:
        """Seconds of a return to the newest checkpoint, verification included."""
        started = time.perf_counter()
        self.state.resume()
        return time.perf_counter() - started

    def dcp_load(self) -> float:
        """Seconds of DCP's return to its newest checkpoint, which verifies nothing."""
        newest = max(self.folder.glob("dcp-*"), key=lambda path: int(path.name.removeprefix("dcp-")))
        started = time.perf_counter()
        state = self._state()
        dcp.load(state, checkpoint_id=newest, no_dist=True)
        self.model.load_state_dict(state["model"])
        self.optimizer.load_state_dict(state["optimizer"])
        return time.perf_counter() - started


def measure(seconds: float, repeats: int | None) -> dict[str, Any]:
    """Turns of all ways, for ``seconds`` or ``repeats`` times, after one of each that is not counted."""
    with tempfile.TemporaryDirectory(prefix="checkpoint-") as folder, uploading(Path(folder)) as uploaded:
        os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
        torch.set_num_threads(1)
        bench = CheckpointBench(Path(folder), uploaded)
        ways = {
            "stemma": bench.ours,
            "stemma, to S3": bench.ours_copied,
            "dcp async_save": bench.dcp_default,
            "dcp, stager kept": bench.dcp_kept_stager,
        }
        turns: dict[str, list[dict[str, float]]] = {name: [] for name in ways}
        for save in ways.values():
            bench.turn(save)
        until = time.monotonic() + seconds
        while (len(turns["stemma"]) < repeats) if repeats else (time.monotonic() < until):
            for name, save in ways.items():
                turns[name].append(bench.turn(save))
        returns = {"stemma": bench.resume, "dcp": bench.dcp_load}
        resumed = {name: [load() for _ in range(5)] for name, load in returns.items()}
        size = sum(path.stat().st_size for path in next((Path(folder) / "ours/checkpoints").iterdir()).iterdir())
        bench.stager.close()
    everything = [turn for each in turns.values() for turn in each]
    step, processor = (statistics.median(turn[name] for turn in everything) for name in ("step", "step_processor"))
    return {
        "parameters": sum(parameter.numel() for parameter in bench.model.parameters()),
        "checkpoint_bytes": size,
        "step_seconds": step,
        "step_processor_seconds": processor,
        "n": len(turns["stemma"]),
        "blocked_share": {name: _spread([t["blocked"] / step for t in each]) for name, each in turns.items()},
        "blocked_processor_share": {
            name: _spread([t["blocked_processor"] / processor for t in each]) for name, each in turns.items()
        },
        "beside_share": {name: _spread([t["beside"] / processor for t in each]) for name, each in turns.items()},
        "step_beside_share": {name: _spread([t["step_beside"] / step for t in each]) for name, each in turns.items()},
        "step_beside_processor_share": {
            name: _spread([t["step_beside_processor"] / processor for t in each]) for name, each in turns.items()
        },
        "resume_seconds": {name: _spread(times) for name, times in resumed.items()},
    }


@contextlib.contextmanager
def uploading(folder: Path) -> Iterator[multiprocessing.SimpleQueue[str]]:
    """An S3 server, and a process that copies checkpoints there as the harness does, both free to use every core.

    Yields a queue of the names of those that got there.
    """
    spawn = multiprocessing.get_context("spawn")
    uploaded = spawn.SimpleQueue()
    with s3.store("bench") as url:
        process = spawn.Process(target=_upload, args=(url, folder / COPIED / "checkpoints", uploaded), daemon=True)
        process.start()
        try:
            yield uploaded
        finally:
            process.kill()


def _upload(url: str, folder: Path, uploaded: multiprocessing.SimpleQueue[str]) -> None:
    remote = RemoteCheckpoints(url, "pretrain/bench", b"s" * 32)
    with Uploads(remote, folder, keep=2, warn=print, log=lambda name, seconds: uploaded.put(name)):
        time.sleep(1e6)


def _spread(values: list[float]) -> dict[str, float]:
    return {"median": statistics.median(values), "least": min(values), "most": max(values)}


def _timed(work: Callable[[], Any]) -> tuple[Any, float, float]:
    """What ``work`` returned, and its seconds by the clock and of this thread's processor time."""
    clock, processor = time.perf_counter(), time.thread_time()
    returned = work()
    return returned, time.perf_counter() - clock, time.thread_time() - processor


def report(result: dict[str, Any]) -> str:
    """The result for a person."""
    lines = [
        f"{result['parameters']:,} parameters, {result['checkpoint_bytes'] / 1e6:.0f} MB a checkpoint, one core",
        f"a step takes {result['step_seconds']:.2f} s by the clock and {result['step_processor_seconds']:.2f} s of "
        f"processor time (medians); n = {result['n']} saves of each kind",
        "",
        "share of a step: median (least to most)",
    ]
    kinds = {
        "training blocked, by the clock": "blocked_share",
        "training blocked, processor time": "blocked_processor_share",
        "written beside it, processor time": "beside_share",
        "the next step, by the clock": "step_beside_share",
        "the next step, processor time": "step_beside_processor_share",
    }
    for title, kind in kinds.items():
        lines.append(f"  {title}")
        lines += [f"    {name:<20}{_show(spread)}" for name, spread in result[kind].items()]
    ours, peer = (result["blocked_processor_share"][name]["median"] for name in ("stemma", "dcp async_save"))
    lines += [f"dcp async_save blocks {peer / ours:.1f} times as long (processor time)", "", "return to a checkpoint"]
    for name, times in result["resume_seconds"].items():
        lines.append(f"  {name:<22}{times['median']:.2f} s ({times['least']:.2f} to {times['most']:.2f}, n = 5)")
    return "\n".join(lines)


def _show(spread: dict[str, float]) -> str:
    return f"{spread['median']:.2%} ({spread['least']:.2%} to {spread['most']:.2%})"


def main(
    seconds: Annotated[float, typer.Option(min=1, help="Time to measure for.")] = 150,
    repeats: Annotated[int | None, typer.Option(min=1, help="Turns, instead of a time.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print data.")] = False,
) -> None:
    """Blocking time of a checkpoint as a share of a training step, and the time of a return to it."""
    result = measure(seconds, repeats)
    print(json.dumps(result, indent=1) if as_json else report(result))


if __name__ == "__main__":
    typer.run(main)
