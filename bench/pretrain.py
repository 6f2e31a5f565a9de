"""Our pretraining against its peers: `python -m bench.pretrain --help`, or `make bench`."""

from __future__ import annotations

import json
import os
import shutil
import sys
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from bench import corpus, gpu, page, quality, speed
from bench.cells import Bench, Cell
from bench.environments import python_of, versions_of
from bench.launch import ROOT, TrainerFailed, run_pinned
from bench.results import Results, machine
from bench.variants import BATCH, CONTEXT, SMALL, VARIANTS, parameter_count
from core.errors import InputProblem
from core.workspace import Workspace

PROFILED = ("stemma", "trainer-fp32")
PROFILE_STEPS = 5


class Part(StrEnum):
    """What can be measured on its own."""

    ceiling = "ceiling"
    speed = "speed"
    profile = "profile"
    quality = "quality"
    gpu = "gpu"


app = typer.Typer(add_completion=False)

EPILOG = """Examples: `make bench` measures all and writes docs/benchmarks.md. `python -m bench.pretrain --part speed
--cores 1 --rounds 1` compares speeds on one core. `python -m bench.pretrain --part quality --jobs 2` compares bits per
byte, two runs side by side on a core each. What is measured already is not measured again."""


@app.command(epilog=EPILOG)
def main(
    part: Annotated[
        list[Part] | None, typer.Option(help="What to measure; repeat it for several. Default: all.")
    ] = None,
    trainer: Annotated[
        list[str] | None, typer.Option(help=f"Whom to measure: {', '.join(VARIANTS)}. Default: all.")
    ] = None,
    cores: Annotated[str, typer.Option(help="Numbers of cores for the speed part.")] = "1,2",
    rounds: Annotated[int, typer.Option(min=1, help="Repetitions of the speed part, all trainers in turn.")] = 3,
    steps: Annotated[int, typer.Option(min=4, help="Steps of a run of the speed part; two warm up.")] = 10,
    slow_steps: Annotated[int, typer.Option(min=3, help="The same in bf16 where the processor emulates it.")] = 4,
    budgets: Annotated[str, typer.Option(help="CPU seconds of training for the quality part.")] = "60,120,240",
    seeds: Annotated[int, typer.Option(min=1, help="Seeds of the quality part.")] = 3,
    jobs: Annotated[
        int, typer.Option(min=1, help="Runs on one core that go side by side, each on a core of its own.")
    ] = 1,
    folder: Annotated[
        Path | None, typer.Option(help="Environments, corpus and results. Default: bench/ in the home, .stemma.")
    ] = None,
    write: Annotated[Path | None, typer.Option(help="Page to write the results into, between its markers.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the summary as JSON.")] = False,
    fresh: Annotated[bool, typer.Option(help="Forget the results of earlier runs; environments stay.")] = False,
    plan: Annotated[bool, typer.Option(help="Say how long the quality part would take, and measure nothing.")] = False,
) -> None:
    """Measure the pretrain stage against litgpt and the Hugging Face Trainer on this machine.

    Each peer gets a virtual environment of its own, pinned, made once. Model, data and batch are the same; runs take
    turns; every run is a process of its own, pinned to its cores. Results are kept after each run.
    """
    try:
        parts = part or list(Part)
        chosen = _variants(trainer)
        core_counts, budget_list = _numbers("--cores", cores, int), _numbers("--budgets", budgets, float)
        most = max(max(core_counts), jobs)
        if most > (there := _cores()):
            raise InputProblem(f"--cores, --jobs: {most} cores are wanted, and this machine has {there}")
        home = folder or Workspace.find(ROOT).home / "bench"
        bench = _bench(home.resolve(), fresh)
        options = {"rounds": rounds, "steps": steps, "slow_steps": slow_steps}
        if plan:
            field = quality.contestants(_speed_rows(bench, chosen, core_counts, options))
            seconds = quality.remaining_seconds(bench, field, budgets=budget_list, seeds=seeds)
            print(
                f"{seconds:,.0f} CPU seconds of training are left, {seconds / jobs / 60:.1f} minutes on {jobs} core(s)"
            )
            return
        _measure(bench, parts, chosen, core_counts, options, budget_list, seeds, jobs)
        summary = _summary(bench, parts, chosen, core_counts, options, budget_list, seeds)
        (home / "summary.json").write_text(json.dumps(summary, indent=1))
        if write is not None:
            page.write(write, page.render(summary))
        print(json.dumps(summary, indent=1) if as_json else page.render(summary))
    except InputProblem as problem:
        print("\n".join(problem.problems), file=sys.stderr)
        raise typer.Exit(2) from None
    except TrainerFailed as failure:
        print(failure, file=sys.stderr)
        raise typer.Exit(1) from None


def _variants(names: list[str] | None) -> list[Any]:
    unknown = [name for name in names or () if name not in VARIANTS]
    if unknown:
        raise InputProblem(f"--trainer: no {', '.join(unknown)}; there is: {', '.join(VARIANTS)}")
    return [VARIANTS[name] for name in names or VARIANTS]


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _numbers(option: str, text: str, kind: type) -> list[Any]:
    try:
        numbers = sorted({kind(each) for each in text.split(",")})
    except ValueError:
        raise InputProblem(f"{option}: {text!r} is no list of numbers such as 1,2") from None
    if numbers[0] <= 0:
        raise InputProblem(f"{option}: {numbers[0]} is not above 0")
    return numbers


def _bench(home: Path, fresh: bool) -> Bench:
    here = machine()
    results = (
        home / "results" / f"{here['processor']}, {here['cores']} cores, torch {here['torch']}.json".replace("/", "-")
    )
    if fresh:
        results.unlink(missing_ok=True)
    return Bench(home, corpus.prepare(home, SMALL["vocab_size"]), Results(results, here))


def _measure(bench, parts, chosen, core_counts, options, budgets, seeds, jobs) -> None:
    for peer in sorted({variant.trainer for variant in chosen} - {"stemma"}):
        python_of(peer, bench.folder / "environments")
    if Part.ceiling in parts:
        for cores in core_counts:
            _ceiling(bench, cores, measure=True)
    if Part.speed in parts:
        for cores in core_counts:
            speed.measure(bench, chosen, cores=cores, jobs=jobs, **options)
    if Part.profile in parts:
        cells = [Cell(variant, 1, PROFILE_STEPS, profile=True) for variant in chosen if variant.name in PROFILED]
        bench.measure_all(cells, jobs)
    if Part.quality in parts:
        # Steps for a budget come from speeds on one core.
        if 1 not in core_counts or Part.speed not in parts:
            speed.measure(bench, chosen, cores=1, jobs=jobs, **options)
        field = quality.contestants(_speed_rows(bench, chosen, core_counts, options))
        quality.measure(bench, field, budgets=budgets, seeds=seeds, jobs=jobs)


def _summary(bench, parts, chosen, core_counts, options, budgets, seeds) -> dict[str, Any]:
    """Everything that has been measured with these options, in this run or before."""
    rows = _speed_rows(bench, chosen, core_counts, options)
    cells = [(variant, Cell(variant, 1, PROFILE_STEPS, profile=True)) for variant in VARIANTS.values()]
    profiles = [
        {"title": variant.title, "seconds": bench.measure(cell, ())["profile"]}
        for variant, cell in cells
        if variant.name in PROFILED and bench.known(cell)
    ]
    return {
        "machine": bench.results.machine,
        "versions": _versions(bench, chosen),
        "parameters": parameter_count(bench.shape),
        "batch": BATCH,
        "context": CONTEXT,
        "ceiling": [row for cores in core_counts if (row := _ceiling(bench, cores, measure=False))],
        "speed": [row for row in rows if row["cores"] in core_counts],
        "profile": profiles,
        "quality": quality.summarise(bench, quality.contestants(rows), budgets=budgets, seeds=seeds),
        "gpu": gpu.measure(bench, rounds=options["rounds"], steps=options["steps"])
        if Part.gpu in parts
        else {"reason": "not requested"},
    }


def _speed_rows(bench, chosen, core_counts, options) -> list[dict[str, Any]]:
    return [
        row for cores in sorted({1, *core_counts}) for row in speed.summarise(bench, chosen, cores=cores, **options)
    ]


def _versions(bench, chosen) -> dict[str, str]:
    wanted = ("litgpt", "lightning", "transformers", "accelerate", "torch")
    found = {}
    for peer in sorted({variant.trainer for variant in chosen} - {"stemma"}):
        versions = versions_of(python_of(peer, bench.folder / "environments"))
        found[peer] = ", ".join(f"{name} {versions[name]}" for name in wanted if name in versions)
    return found


def _ceiling(bench: Bench, cores: int, *, measure: bool) -> dict[str, Any] | None:
    order = {"part": "ceiling", "cores": cores, "shape": bench.shape, "batch": bench.batch, "context": bench.context}

    def probe() -> dict[str, Any]:
        print(f"ceiling: {cores} core(s) ...", flush=True)
        folder = bench.folder / "runs" / f"ceiling-{cores}"
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / "order.json"
        path.write_text(json.dumps({**order, "folder": str(folder), "steps": 5}))
        command = [sys.executable, "-m", "bench.trainers.ceiling", path]
        run_pinned(command, range(cores), folder / "log.txt")
        result = json.loads((folder / "ceiling.json").read_text())
        shutil.rmtree(folder)
        return result

    if not measure and not bench.results.has(order):
        return None
    return {**bench.results.get(order, probe), "cores": cores}


if __name__ == "__main__":
    app()
