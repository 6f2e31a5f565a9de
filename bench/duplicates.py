"""Near-duplicates: speed and recall against rensa and datatrove, theory, and memory against the number of documents.

    python -m bench.duplicates peers --rounds 3
    python -m bench.duplicates theory
    python -m bench.duplicates memory --documents 100000 500000 1000000 2000000

*peers*: pieces of 250 words of the texts of :mod:`bench.data`, of which no two share a tenth of their shingles, and for
each one a copy in which so many words were replaced that its similarity (Jaccard, of all shingles of three words) lies
between 0.4 and 1; then five texts of the same words in a random order, which are like no other. All drop from 0.8
on; datatrove's buckets have their middle at 0.72, so that our side is measured there too.

*memory*: judged files whose signatures are drawn as MinHash gives them. Of ten documents five are like no other, two
are copies at a similarity between 0.3 and 1, one is an exact copy, and two share a third of their values with all
of their boilerplate. Groups and origins are a row's own. Measured is what the stage does before it writes the corpus.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import random
import shutil
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from bench.data import _files
from bench.environments import python_of
from bench.launch import TRAINERS, run_pinned

SIDES = ("stemma", "stemma, threshold 0.72", "rensa, words", "rensa, shingles", "datatrove")
EDGES = (0.4, 0.5, 0.6, 0.7, 0.75, 0.8, 0.85, 0.9, 1.01)
WORDS = 250
SHUFFLED = 5


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.duplicates", description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)  # fmt: skip
    parser.add_argument("what", choices=("peers", "theory", "memory", "decide"))
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--pairs", type=int, default=3000)
    parser.add_argument("--documents", type=int, nargs="+", default=[100_000, 500_000, 1_000_000, 2_000_000])
    parser.add_argument("--folder", type=Path, default=Path.home() / ".cache/stemma-bench")
    given = parser.parse_args()
    if given.what == "decide":
        _decide(given.folder)
        return
    {"peers": peers, "theory": theory, "memory": memory}[given.what](given)


def peers(given: argparse.Namespace) -> None:
    folder: Path = given.folder / "duplicates"
    folder.mkdir(parents=True, exist_ok=True)
    alike = _write_pairs(folder / "texts.jsonl", given.pairs)
    size = (folder / "texts.jsonl").stat().st_size
    print(f"{len(alike)} pairs, {size / 1e6:.1f} MB", flush=True)
    pythons = {side: Path(sys.executable) for side in SIDES}
    pythons["datatrove"] = python_of("datatrove", given.folder / "environments")
    rounds: dict[str, list[dict[str, Any]]] = {side: [] for side in SIDES}
    for number in range(given.rounds):
        for side in SIDES if number % 2 == 0 else SIDES[::-1]:
            command: list[str | Path] = [
                pythons[side], TRAINERS / "duplicates.py", side, folder / "texts.jsonl", folder / "result.json",
                folder / "work",
            ]  # fmt: skip
            run_pinned(command, [min(os.sched_getaffinity(0))], folder / "log.txt")
            rounds[side].append(json.loads((folder / "result.json").read_text()))
            took = rounds[side][-1]["seconds"]
            print(f"round {number}: {side} {took:.2f} s, load {os.getloadavg()[0]:.1f}", flush=True)
    ranges = list(pairwise(EDGES))
    heads = ["", "MB a processor second (median; least to most)", "largest memory, MB",
             *(f"{low} to {min(high, 1)}" for low, high in ranges)]  # fmt: skip
    print("| " + " | ".join(heads) + " |\n" + "|---" * len(heads) + "|")
    for side, each in rounds.items():
        speeds = [size / 1e6 / one["seconds"] for one in each]
        dropped = np.isin(2 * np.arange(len(alike)) + 1, each[0]["dropped"])
        cells = [
            side,
            f"{statistics.median(speeds):.2f} ({min(speeds):.2f} to {max(speeds):.2f})",
            f"{max(one['peak'] for one in each) / 1e6:.0f}",
            *(f"{dropped[(alike >= low) & (alike < high)].mean():.3f}" for low, high in ranges),
        ]
        print("| " + " | ".join(cells) + " |", flush=True)


def _write_pairs(path: Path, pairs: int) -> np.ndarray:
    """Write pairs of texts, a copy behind each text, then texts like no other; the similarity of each pair."""
    draw, seen, alike, singles = random.Random(0), set[int](), [], []
    with open(path, "w") as file:
        for words in _pieces():
            whole = _shingles(words)
            if len(whole & seen) > len(whole) / 10:
                continue
            seen |= whole
            changed, wanted = list(words), draw.uniform(0.4, 1)
            places = draw.sample(range(len(words)), len(words))
            similarity = 1.0
            for place in places:
                if similarity <= wanted:
                    break
                changed[place] = f"other{draw.randrange(1 << 30)}"
                copy = _shingles(changed)
                similarity = len(whole & copy) / len(whole | copy)
            alike.append(similarity)
            file.write(json.dumps(" ".join(words)) + "\n" + json.dumps(" ".join(changed)) + "\n")
            singles += [draw.sample(words, len(words)) for _ in range(SHUFFLED)]
            if len(alike) == pairs:
                break
        file.writelines(json.dumps(" ".join(words)) + "\n" for words in singles)
    return np.array(alike)


def _pieces() -> Iterator[list[str]]:
    for source in _files():
        words = [word for word in source.read_text(errors="replace").lower().split() if word.isalpha()]
        yield from (words[begin : begin + WORDS] for begin in range(0, len(words) - WORDS, WORDS))


def _shingles(words: list[str]) -> set[int]:
    return {hash(shingle) for shingle in zip(words, words[1:], words[2:], strict=False)}


def theory(_: argparse.Namespace) -> None:
    """Pairs of 120 words at known similarities: how many share a band, and how many are dropped at 0.8."""
    from math import comb

    from components.curate.deduplication.buckets import ROWS_PER_BAND
    from components.curate.deduplication.signatures import signatures
    from components.curate.parameters import DeduplicationParameters

    parameters, pairs = DeduplicationParameters(shingle_words=1), 4000
    print("| similarity | share a band: 1 − (1 − s⁴)³² | measured | dropped: binomial | measured |")
    print("|---|---|---|---|---|")
    for wanted in (0.3, 0.4, 0.5, 0.6, 0.7, 0.75, 0.8, 0.85, 0.9, 0.95):
        common = round(240 * wanted / (1 + wanted))
        s = common / (240 - common)
        texts = []
        for pair in range(pairs):
            whole = [f"w{pair}x{number}" for number in range(240 - common)]
            texts += [" ".join(whole[:120]), " ".join(whole[-120:])]
        signed = signatures(texts, parameters, 1, compiled=True)
        equal = signed[::2] == signed[1::2]
        met = equal.reshape(pairs, -1, ROWS_PER_BAND).all(2).any(1)
        dropped = met & (equal.mean(1) >= parameters.threshold)
        least = int(np.ceil(parameters.threshold * 128))
        tail = sum(comb(128, k) * s**k * (1 - s) ** (128 - k) for k in range(least, 129))
        print(f"| {s:.3f} | {1 - (1 - s**4) ** 32:.3f} | {met.mean():.3f} | {tail:.3f} | {dropped.mean():.3f} |")


def memory(given: argparse.Namespace) -> None:
    print("| documents | processor s | s a million | memory of its own, MB | with mapped files, MB | disk, MB |")
    print("|---|---|---|---|---|---|")
    for documents in given.documents:
        with tempfile.TemporaryDirectory(prefix="stemma-bench-", dir=os.environ.get("TMPDIR")) as place:
            _write_judged(Path(place, "judged"), documents)
            done = subprocess.run(
                [sys.executable, "-m", "bench.duplicates", "decide", "--folder", place], stdout=subprocess.PIPE,
                text=True, check=True,
            )  # fmt: skip
        found = json.loads(done.stdout.splitlines()[-1])
        cells = [f"{documents:,}", f"{found['seconds']:.1f}", f"{found['seconds'] / documents * 1e6:.0f}",
                 *(f"{found[name] / 1e6:.0f}" for name in ("own", "resident", "disk"))]  # fmt: skip
        print("| " + " | ".join(cells) + " |", flush=True)
        print(json.dumps(found), file=sys.stderr, flush=True)


def _write_judged(folder: Path, documents: int) -> None:
    """Files of 20,000 judged documents each."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    from components.curate.parameters import CurateParameters
    from components.curate.process import schema

    folder.mkdir()
    draw = np.random.default_rng(0)
    boilerplate = draw.integers(0, 1 << 32, (20, 128), np.uint32)
    for begin in range(0, documents, 20_000):
        count = min(20_000, documents - begin)
        signed = draw.integers(0, 1 << 32, (count, 128), np.uint32)
        names = [hashlib.blake2b(str(begin + place).encode(), digest_size=16).hexdigest() for place in range(count)]
        kind = draw.integers(0, 10, count)
        for place in np.flatnonzero(kind[1:] < 3) + 1:
            other = int(draw.integers(place))
            if kind[place] == 2:
                signed[place], names[place] = signed[other], names[other]
            else:
                same = draw.random(128) < draw.uniform(0.3, 1)
                signed[place, same] = signed[other, same]
        for place in np.flatnonzero(kind > 7):
            same = draw.random(128) < 0.33
            signed[place, same] = boilerplate[place % 20, same]
        origin = [f"data/raw/file-{begin // 20_000:05d}.jsonl#{place}" for place in range(count)]
        columns: dict[str, Any] = {
            "text": [""] * count, "source": ["files"] * count, "kind": ["row"] * count, "group": origin,
            "license": ["unknown"] * count, "origin": origin, "id": names,
            "characters": draw.integers(100, 4000, count), "rule": [None] * count, "reason": [None] * count,
            "signature": pa.FixedSizeBinaryArray.from_buffers(pa.binary(512), count, [None, pa.py_buffer(signed)]),
        }  # fmt: skip
        fields = schema(CurateParameters())
        table = pa.table({field.name: columns.get(field.name, [None] * count) for field in fields}, schema=fields)
        pq.write_table(table, folder / f"{begin:012d}.parquet", compression="zstd", compression_level=1,
                       use_dictionary=["source", "kind", "license", "rule"], write_page_checksum=True)  # fmt: skip


def _decide(place: Path) -> None:
    """Duplicates and splits of the judged files, with what they took; in a process of its own."""
    from components.contract import Context
    from components.curate import corpus
    from components.curate.parameters import CurateParameters
    from components.curate.pipeline import JudgedChunks

    most = {"own": 0, "resident": 0, "disk": 0}
    ended = threading.Event()

    def watch() -> None:
        while not ended.wait(0.1):
            lines = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
            for name, line in (("own", "RssAnon"), ("resident", "VmRSS")):
                most[name] = max(most[name], int(lines[line].split()[0]) * 1024)
            used = 0
            for path in (place / "work").rglob("*"):
                try:
                    used += path.stat().st_blocks * 512
                except OSError:  # gone meanwhile
                    continue
            most["disk"] = max(most["disk"], used)

    paths = sorted((place / "judged").iterdir())
    (place / "work").mkdir()
    parameters = CurateParameters()
    context = Context(parameters, 1337, {}, {}, place / "scratch")
    watcher = threading.Thread(target=watch)
    watcher.start()
    began = time.process_time()
    kept = corpus.choose(JudgedChunks(paths), set(), place / "work", context)
    chosen = time.process_time() - began
    corpus.assign(kept, context)
    took = time.process_time() - began
    ended.set()
    watcher.join()
    print(json.dumps({"seconds": took, "choosing": chosen, **most, "kept": kept.new, "links": len(kept.decisions.links),
                      **kept.duplicates(), "load": os.getloadavg()[0]}))  # fmt: skip
    shutil.rmtree(place / "work")


if __name__ == "__main__":
    main()
