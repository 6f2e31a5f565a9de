"""Text to packed token shards against peers: the same texts and tokenizer, alternately, one process a side on one core.

`python -m bench.tokenize --megabytes 32 --rounds 3` prints megabytes a processor second of each side, the ratios of
each round, memory beyond what the imports take, and whether the ids are the same bytes. The texts are documentation and
source of this machine, of :mod:`bench.data_engine`; the tokenizer is byte-level BPE, trained on them by the stage.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from bench import data_engine
from bench.environments import python_of
from bench.launch import TRAINERS, run_pinned
from bench.stages import run_stage

PEERS = {"datatrove": "tokenizing", "tiktoken": "tokenizing", "litdata": "litdata"}  # and their environments
HELD_OUT = 100  # texts, which the stage needs and nobody is measured on


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.tokenize", description=__doc__)
    parser.add_argument("--megabytes", type=float, default=32)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--vocabulary", type=int, default=32768)
    parser.add_argument("--peers", nargs="*", default=list(PEERS), choices=list(PEERS))
    parser.add_argument("--folder", type=Path, default=Path.home() / ".cache/stemma-bench")
    given = parser.parse_args(arguments)
    place = given.folder / f"tokenize-{given.megabytes:g}-{given.vocabulary}"
    size, count = _prepare(place, given.megabytes, given.vocabulary)
    print(f"{count} texts, {size / 1e6:.0f} MB, {given.vocabulary} entries", flush=True)
    environments = given.folder / "environments"
    pythons = {"stemma": Path(sys.executable)} | {peer: python_of(PEERS[peer], environments) for peer in given.peers}
    rounds: dict[str, list[dict[str, Any]]] = {side: [] for side in pythons}
    for number in range(given.rounds):
        for side in list(pythons) if number % 2 == 0 else list(pythons)[::-1]:
            command: list[str | Path] = [pythons[side], TRAINERS / "tokenizing.py", side, place, place / "result.json"]
            run_pinned(command, [max(os.sched_getaffinity(0))], place / "log.txt")
            rounds[side].append(json.loads((place / "result.json").read_text()))
            took = rounds[side][-1]["seconds"]
            print(
                f"round {number}: {side} {took:.1f} s, {size / 1e6 / took:.2f} MB/s, load {os.getloadavg()[0]:.1f}",
                flush=True,
            )
    _print(rounds, size)


def _prepare(place: Path, megabytes: float, vocabulary: int) -> tuple[int, int]:
    """The texts as ``texts.jsonl`` and as a corpus, and a tokenizer trained on them; bytes and number of the texts."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    if not (place / "models/tokenizer/tokenizer.json").exists():
        data_engine.write(place / "raw", megabytes)
        texts = [
            json.loads(line)["text"]
            for path in sorted((place / "raw/data/raw").iterdir())
            for line in path.read_text(encoding="utf-8").splitlines()
        ]
        (place / "data/corpus").mkdir(parents=True, exist_ok=True)
        for split, mine in (("train", texts[HELD_OUT:]), ("validation", texts[:HELD_OUT])):
            table = pa.table({"text": mine, "kind": ["file"] * len(mine)})
            pq.write_table(table, place / f"data/corpus/{split}-00000-of-00001.parquet", row_group_size=1024)
        with open(place / "texts.jsonl", "w", encoding="utf-8") as file:
            file.writelines(json.dumps({"text": text}) + "\n" for text in texts[HELD_OUT:])
        run_stage("tokenize", place, {"vocabulary_size": vocabulary})
    texts = pq.read_table(place / "data/corpus/train-00000-of-00001.parquet")["text"].to_pylist()
    return sum(len(text.encode()) for text in texts), len(texts)


def _print(rounds: dict[str, list[dict[str, Any]]], size: int) -> None:
    print("| | MB a processor second (median; least to most) | memory beyond the imports, MiB | tokens |")
    print("|---|---|---|---|")
    for side, each in rounds.items():
        speeds = [size / 1e6 / one["seconds"] for one in each]
        memory = max(one["peak"] - one["before"] for one in each) / 2**20
        print(f"| {side} | {statistics.median(speeds):.2f} ({min(speeds):.2f} to {max(speeds):.2f}) | {memory:.0f} | "
              f"{each[0]['tokens']} |")  # fmt: skip
    for peer in [side for side in rounds if side != "stemma"]:
        ratios = [
            theirs["seconds"] / ours["seconds"] for ours, theirs in zip(rounds["stemma"], rounds[peer], strict=True)
        ]
        same = rounds["stemma"][0]["digest"] == rounds[peer][0]["digest"]
        spread = f"{min(ratios):.1f} to {max(ratios):.1f}, n = {len(ratios)}"
        print(f"{statistics.median(ratios):.1f} times {peer} ({spread}); {'the same ids' if same else 'OTHER IDS'}")


if __name__ == "__main__":
    main()
