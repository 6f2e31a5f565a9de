"""Curation against datatrove: the same published rules on the same texts, alternately, one process each.

`python -m bench.data --megabytes 50 --rounds 3` prints megabytes a processor second of both sides, the ratio of each
round, and on how many texts they decide alike. The texts are documentation of this machine: files named :data:`NAMES`
below the folders of :mod:`bench.data_engine`. Both sides apply Gopher's quality and repetition rules, C4's rules for
documents and FineWeb's rules, replace personal data, and make MinHash signatures of 128 values. Gopher's rule for
alphabetic words is off on both: datatrove counts punctuation as words, and drops nearly all of this text by it.

`--also FOLDER` takes the same kinds of files from another folder, such as unpacked packages of RFCs, after each file of
the machine. `--every 5` gives datatrove every fifth text: it judges each for itself, so that its speed is the same.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import zip_longest
from pathlib import Path
from typing import Any

from bench.data_engine import FOLDERS
from bench.environments import python_of
from bench.launch import TRAINERS, run_pinned

SIDES = ("stemma", "datatrove")
EXACT = "stemma-exact"  # with quality.measures: datatrove
LIKE_US = ("datatrove-words", "datatrove-sentences")  # what of it counts as we do, one after the other
# Prose: in source code the two sides disagree on what a word is, and Gopher's rules drop most of it at the first step.
NAMES = (".md", ".rst", ".txt", "METADATA", "README", "copyright", "changelog", "NEWS")


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.data", description=__doc__)
    parser.add_argument("--megabytes", type=float, default=50)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--also", type=Path, action="append", default=[], metavar="FOLDER")
    parser.add_argument("--every", type=int, default=1, help="datatrove judges one text of so many")
    parser.add_argument("--exact", action="store_true", help="also with quality.measures: datatrove, which needs spaCy")
    parser.add_argument("--explain", action="store_true", help="what of the differences comes from words and sentences")
    parser.add_argument("--folder", type=Path, default=Path.home() / ".cache/stemma-bench")
    given = parser.parse_args(arguments)
    folder: Path = given.folder / "data"
    folder.mkdir(parents=True, exist_ok=True)
    sizes = _write(folder, given.megabytes * 1e6, given.also, given.every)
    for name, size in sizes.items():
        print(f"{name}: {size / 1e6:.0f} MB", flush=True)
    pythons = {"stemma": Path(sys.executable), "datatrove": python_of("datatrove", given.folder / "environments")}

    def measured(side: str) -> dict[str, Any]:
        python = pythons[side.partition("-")[0]]
        texts = folder / f"{side.partition('-')[0]}.jsonl"
        command = [python, TRAINERS / "curation.py", side, texts, folder / "result.json"]
        run_pinned(command, [min(os.sched_getaffinity(0))], folder / "log.txt")
        return json.loads((folder / "result.json").read_text())

    sides = ("stemma", EXACT, "datatrove") if given.exact else SIDES
    sizes[EXACT] = sizes["stemma"]
    rounds: dict[str, list[dict[str, Any]]] = {side: [] for side in sides}
    for number in range(given.rounds):
        for side in sides if number % 2 == 0 else sides[::-1]:
            rounds[side].append(measured(side))
            took = rounds[side][-1]["seconds"]
            print(f"round {number}: {side} {took:.1f} s, {sizes[side] / 1e6 / took:.2f} MB/s", flush=True)
    _print(rounds, sizes)
    for side in sides[:-1]:
        ours = rounds[side][0]["rules"][:: given.every]
        _print_agreement(f"{side} and datatrove", ours, rounds["datatrove"][0]["rules"])
    ours = rounds["stemma"][0]["rules"][:: given.every]
    for side in LIKE_US if given.explain else ():
        _print_agreement(side, ours, measured(side)["rules"])


def _write(folder: Path, size: float, also: Sequence[Path], every: int) -> dict[str, int]:
    """Write texts of at most 20,000 characters, ``size`` bytes or more, one of ``every`` for datatrove; the bytes."""
    written, count = dict.fromkeys(SIDES, 0), 0
    with open(folder / "stemma.jsonl", "w") as ours, open(folder / "datatrove.jsonl", "w") as theirs:
        for source in _files(also):
            text = source.read_text(errors="replace")
            for start in range(0, len(text), 20_000):
                part = text[start : start + 20_000].strip()
                if part:
                    for side, file in zip(SIDES, (ours, theirs) if count % every == 0 else (ours,), strict=False):
                        file.write(json.dumps(part) + "\n")
                        written[side] += len(part.encode())
                    count += 1
            if written["stemma"] >= size:
                break
    return written


def _files(also: Sequence[Path]) -> Iterator[Path]:
    for files in zip_longest(_below(list(map(Path, FOLDERS))), _below(also)):
        yield from (path for path in files if path is not None)


def _below(folders: Sequence[Path]) -> Iterator[Path]:
    for folder in folders:
        for root, below, names in os.walk(folder):
            below.sort()
            found = (Path(root, name) for name in sorted(names) if name.endswith(NAMES))
            yield from (path for path in found if path.is_file())


def _print(rounds: dict[str, list[dict[str, Any]]], sizes: dict[str, int]) -> None:
    print("| | MB a processor second (median; least to most) | largest memory, MB | texts kept |")
    print("|---|---|---|---|")
    for side, each in rounds.items():
        speeds = [sizes[side] / 1e6 / one["seconds"] for one in each]
        memory = max(one["peak"] for one in each) / 1e6
        print(f"| {side} | {statistics.median(speeds):.2f} ({min(speeds):.2f} to {max(speeds):.2f}) | {memory:.0f} | "
              f"{each[0]['rules'].count(None)} |")  # fmt: skip
    more = sizes["stemma"] / sizes["datatrove"]
    for side in list(rounds)[:-1]:
        pairs = zip(rounds[side], rounds["datatrove"], strict=True)
        ratios = [more * theirs["seconds"] / ours["seconds"] for ours, theirs in pairs]
        middle, least, most = statistics.median(ratios), min(ratios), max(ratios)
        print(f"{side}: {middle:.1f} times datatrove ({least:.1f} to {most:.1f}, n = {len(ratios)})")


def _print_agreement(side: str, ours: list[str | None], theirs: list[str | None]) -> None:
    pairs = list(zip(ours, theirs, strict=True))
    alike = sum((one is None) == (other is None) for one, other in pairs)
    print(
        f"{side}: decisions alike on {alike / len(pairs):.4f} of {len(pairs)} texts; the others, by our rule and its:"
    )
    differing = Counter((one, other) for one, other in pairs if (one is None) != (other is None))
    for (one, other), count in differing.most_common():
        print(f"  {count:5}  {one or 'kept'} / {other or 'kept'}")


if __name__ == "__main__":
    main()
