"""What the engine of curation costs and gains: one process, two, a Ray cluster; then nothing new, and a little new.

    python -m bench.data_engine --megabytes 64
    RAY_AUTH_MODE=token RAY_AUTH_TOKEN=... python -m bench.data_engine --address HEAD:6379

The text is documentation of this machine (.md, .rst, .txt, .html, .py below the folders named), a row a file, the same
every time. The corpora of all runs are compared byte for byte.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import resource
import shutil
import subprocess
import sys
import sysconfig
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

SUFFIXES = (".md", ".rst", ".txt", ".html", ".py")
FOLDERS = ("/usr/share/doc", sysconfig.get_path("stdlib"), sysconfig.get_path("purelib"))
ROWS_A_FILE = 2000
NEW = 0.01  # share of the text that a run with new data finds changed


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--megabytes", type=float, default=64)
    arguments.add_argument("--address", help="of a running Ray cluster; without it Ray is not measured")
    arguments.add_argument("--run", metavar="ORDER", help=argparse.SUPPRESS)
    given = arguments.parse_args()
    if given.run:
        _run(json.loads(given.run))
        return
    with tempfile.TemporaryDirectory(prefix="stemma-bench-") as folder:
        place = Path(folder)
        size = write(place, given.megabytes)
        print(f"{size / 1e6:.0f} MB of text, {os.cpu_count()} processors", flush=True)
        orders: list[tuple[str, dict[str, Any], str]] = [
            ("local, 1 process", {"type": "local", "workers": 1}, "cache-1"),
            ("local, 2 processes", {"type": "local", "workers": 2}, "cache-2"),
        ]
        if given.address:
            orders.append(("ray", {"type": "ray", "address": given.address}, "cache-ray"))
        orders.append(("nothing new", {"type": "local", "workers": 1}, "cache-1"))
        seen = {_measured(place, name, engine, cache)["corpus"] for name, engine, cache in orders}
        print("the same corpus in all" if len(seen) == 1 else f"CORPORA DIFFER: {seen}", flush=True)
        _change(place)
        _measured(place, f"{NEW:.0%} new", {"type": "local", "workers": 1}, "cache-1")


def write(place: Path, megabytes: float) -> int:
    """Write the text under ``data/raw`` as jsonl; bytes of it."""
    left, number, rows = int(megabytes * 1e6), 0, []
    (place / "data/raw").mkdir(parents=True)
    for path in _files():
        if left <= 0:
            break
        try:
            text = path.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError):
            continue
        rows.append(json.dumps({"text": text}, ensure_ascii=False) + "\n")
        left -= len(text)
        if len(rows) == ROWS_A_FILE or left <= 0:
            (place / f"data/raw/{number:04d}.jsonl").write_text("".join(rows), encoding="utf-8")
            number, rows = number + 1, []
    return sum(path.stat().st_size for path in (place / "data/raw").iterdir())


def _files() -> Iterator[Path]:
    for folder in FOLDERS:
        for root, folders, names in os.walk(folder):
            folders.sort()
            yield from (Path(root, name) for name in sorted(names) if name.endswith(SUFFIXES))


def _change(place: Path) -> None:
    """Append new rows to the last file."""
    path = sorted((place / "data/raw").iterdir())[-1]
    total = sum(each.stat().st_size for each in path.parent.iterdir())
    rows = path.read_text(encoding="utf-8").splitlines(keepends=True)
    with open(path, "a", encoding="utf-8") as file:
        size = 0
        for row in rows:
            if size > NEW * total:
                break
            size += file.write(json.dumps({"text": json.loads(row)["text"][::-1]}, ensure_ascii=False) + "\n")


def _measured(place: Path, name: str, engine: dict[str, Any], cache: str) -> dict[str, Any]:
    """Curate in a process of its own, so that nothing is warm but the disk."""
    order = json.dumps({"place": str(place), "engine": engine, "cache": cache})
    done = subprocess.run(
        [sys.executable, "-m", "bench.data_engine", "--run", order], stdout=subprocess.PIPE, text=True, check=True
    )
    result: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    print(
        f"{name:20} judging {result['judging']:6.1f} s ({result['found']} of {result['chunks']} chunks found), "
        f"all {result['all']:6.1f} s, processors {result['cpu']:6.1f} s, load before {result['load']:.1f}",
        flush=True,
    )
    return result


def _run(order: dict[str, Any]) -> None:
    from components.contract import Context
    from components.curate import component, stage
    from components.curate.parameters import CurateParameters

    place, taken = Path(order["place"]), {}
    judge_all = stage.judge_all

    def timed(*given: Any) -> Any:
        start = time.perf_counter()
        done = judge_all(*given)
        taken.update(judging=time.perf_counter() - start, found=done.found, chunks=len(done.paths))
        return done

    stage.judge_all = timed
    outputs = {each.name: place / "out" / each.name for each in component.outputs}
    shutil.rmtree(place / "out", ignore_errors=True)
    for folder in (*outputs.values(), place / "scratch"):
        folder.mkdir(parents=True, exist_ok=True)
    parameters = CurateParameters(
        sources=[{"type": "files", "paths": ["data/raw/*.jsonl"]}],
        instructions={"source": "none"},
        labels={"source": "none"},
        engine=order["engine"],
    )
    start, load = time.perf_counter(), os.getloadavg()[0]
    inputs = {"raw": place / "data/raw"}
    component.run(Context(parameters, 1337, inputs, outputs, place / "scratch", cache=place / order["cache"]))
    # Of this process and those it started: not those of Ray's workers.
    spent = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    taken.update(cpu=sum(each.ru_utime + each.ru_stime for each in spent), load=load)
    digest = hashlib.sha256()
    for path in sorted(outputs["corpus"].iterdir()):
        digest.update(path.read_bytes())
    print(json.dumps({**taken, "all": time.perf_counter() - start, "corpus": digest.hexdigest()}))


if __name__ == "__main__":
    main()
