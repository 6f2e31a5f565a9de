"""Repeated passages: speed and memory of the search by sorted files, and of a suffix array that does the same.

    python -m bench.substrings --megabytes 16 64 --rounds 2

Texts of :mod:`bench.data`, in documents of at most 20,000 characters (Latin-1, others replaced: the suffix array works
on bytes). Both sides name every place where a stretch of 200 characters begins that is equal to one that ends before
it, and the bench stops where they differ. The suffix array: divsufsort and Kasai's algorithm by pydivsufsort.
"""

from __future__ import annotations

import argparse
import hashlib
import itertools
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from bench.environments import python_of

LENGTH, DOCUMENT, SIDES = 200, 20_000, ("stemma", "pydivsufsort")


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.substrings", description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)  # fmt: skip
    parser.add_argument("--megabytes", type=int, nargs="+", default=[16, 64])
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--sides", nargs="+", choices=SIDES, default=SIDES)
    parser.add_argument("--folder", type=Path, default=Path.home() / ".cache/stemma-bench")
    parser.add_argument("--one", choices=SIDES, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.one:
        print(json.dumps(_stemma(given.folder) if given.one == "stemma" else _suffix_array(given.folder)))
        return
    pythons = {"stemma": Path(sys.executable)}
    if "pydivsufsort" in given.sides:
        pythons["pydivsufsort"] = python_of("pydivsufsort", given.folder / "environments")
    print("| MB | | MB a processor second (least to most) | largest memory, MB | disk, MB | stretches that repeat |")
    print("|---|---|---|---|---|---|")
    for megabytes in given.megabytes:
        with tempfile.TemporaryDirectory(prefix="stemma-bench-", dir=os.environ.get("TMPDIR")) as place:
            size = _write(Path(place, "texts.jsonl"), megabytes * 1_000_000)
            found: dict[str, list[dict[str, Any]]] = {side: [] for side in given.sides}
            for side in itertools.chain.from_iterable([given.sides] * given.rounds):
                command = [pythons[side], "-m", "bench.substrings", "--one", side, "--folder", place]
                done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
                found[side].append(json.loads(done.stdout.splitlines()[-1]))
        for side, each in found.items():
            speeds = [size / 1e6 / one["seconds"] for one in each]
            print(
                f"| {size / 1e6:.0f} | {side} | {statistics.median(speeds):.1f} ({min(speeds):.1f} to "
                f"{max(speeds):.1f}) | {max(one['memory'] for one in each) / 1e6:.0f} | {each[0]['disk'] / 1e6:.0f} | "
                f"{each[0]['count'] / size:.1%} |",
                flush=True,
            )
        if len({one["places"] for each in found.values() for one in each}) > 1:
            raise SystemExit("the sides do not name the same places")
        print(f"load {os.getloadavg()[0]:.1f}", file=sys.stderr, flush=True)


def _write(path: Path, size: int) -> int:
    from bench.data import _files  # not in the peer's environment

    written = 0
    with open(path, "w") as file:
        for source in _files():
            text = source.read_text(errors="replace").encode("latin-1", "replace").decode("latin-1").replace("\0", " ")
            for begin in range(0, len(text), DOCUMENT):
                file.write(json.dumps(text[begin : begin + DOCUMENT]) + "\n")
                written += len(text[begin : begin + DOCUMENT])
            if written >= size:
                break
    return written


def _texts(folder: Path) -> Iterator[str]:
    with open(folder / "texts.jsonl") as file:
        yield from map(json.loads, file)


def _stemma(folder: Path) -> dict[str, Any]:
    from components.curate.deduplication import repeats

    def batches() -> Iterator[list[str]]:
        texts = _texts(folder)
        while batch := list(itertools.islice(texts, 4096)):
            yield batch

    repeats.find(lambda: [["compiled " * 100] * 2], 1800, LENGTH, 1, folder / "warm")
    size = sum(map(len, _texts(folder)))
    most = [0]
    room = repeats.require_room
    repeats.require_room = lambda at, needed, what: (most.append(needed), room(at, needed, what))[1]  # type: ignore[assignment]
    began = time.process_time()
    found = repeats.find(batches, size, LENGTH, 1, folder / "repeats")
    return _measured(began, (found.until(end) for end in range(0, size + repeats.BLOCK, repeats.BLOCK)), max(most))


def _suffix_array(folder: Path) -> dict[str, Any]:
    from pydivsufsort import divsufsort, kasai

    texts = list(_texts(folder))
    began = time.process_time()
    text = "\0".join(texts).encode("latin-1")
    order = divsufsort(text)
    common = kasai(text, order)  # of each suffix with the next one in order
    codes = np.frombuffer(text, np.uint8)
    ends = np.flatnonzero(np.append(codes, 0) == 0)
    whole = ends[np.searchsorted(ends, order)] - order >= LENGTH
    begins = np.append(True, common[:-1] < LENGTH)
    firsts = np.minimum.reduceat(order, np.flatnonzero(begins))[np.cumsum(begins) - 1]
    places = np.sort(order[whole & (order >= firsts + LENGTH)])
    places = places - np.searchsorted(ends, places)  # without the marks between the texts
    return _measured(began, [places], 0)


def _measured(began: float, found: Iterable[np.ndarray], disk: int) -> dict[str, Any]:
    count, digest = 0, hashlib.sha256()
    for places in found:
        count += len(places)
        digest.update(places.astype("<i8").tobytes())
    return {
        "seconds": time.process_time() - began,
        "memory": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
        "disk": disk,
        "count": count,
        "places": digest.hexdigest(),
    }


if __name__ == "__main__":
    main()
