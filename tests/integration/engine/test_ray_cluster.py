"""Curation on a real Ray cluster: the bytes of one machine, whatever is killed in the middle."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

import components
from components import engine
from components.curate.files import parts
from components.engine import EngineParameters
from components.text_classifier.training import train
from components.tokenize import corpus
from core.errors import InputProblem
from tests import ray_cluster
from tests.stage import run_component
from tests.unit.curate.test_chunks import lines, make
from tests.unit.curate.test_curate_files import put
from tests.unit.engine import work
from tests.unit.text_classifier.examples import texts
from tests.unit.tokenize.stdlib_corpus import made_by_tokenize, write_parts

ROWS, CHUNK = 5000, 20_000


@pytest.fixture
def workspace(tmp_path, monkeypatch) -> Path:
    put(tmp_path, "texts/a.jsonl", lines(range(ROWS)))
    monkeypatch.setattr(parts, "CHUNK", CHUNK)
    return tmp_path


def until(cache: Path, count: int, seconds: float = 120) -> None:
    """Wait for so many files of finished chunks."""
    deadline = time.monotonic() + seconds
    while len(list(cache.glob("*.parquet"))) < count:
        assert time.monotonic() < deadline, "the cluster makes no progress"
        time.sleep(0.02)


def on_ray(cluster: ray_cluster.Cluster) -> dict:
    return {"type": "ray", "address": cluster.address}


@pytest.mark.nightly  # half a minute on a busy machine
def test_a_classifier_drops_and_scores_the_same_on_the_cluster(workspace, cluster):
    name = "data/raw/classifiers/quality.safetensors"
    train(texts("good", 150), texts("bad", 150), 0.8, 1337).save(workspace / name, {"name": "quality"})
    rows = [{"text": text} for kind in ("good", "bad") for text in texts(kind, 200, seed=1)]
    put(workspace, "texts/a.jsonl", "".join(json.dumps(row) + "\n" for row in rows))
    asked = {"classifiers": [{"name": "quality", "model": name}]}
    expected = make(workspace, cache=workspace / "local", **asked)
    assert make(workspace, cache=workspace / "cache", engine=on_ray(cluster), **asked) == expected


@pytest.mark.nightly  # kills that take a minute and a half
def test_a_driver_that_is_killed_and_a_worker_and_a_node_change_no_byte(workspace, cluster):
    expected = make(workspace, cache=workspace / "local")
    total = len(list((workspace / "local").glob("*.parquet")))
    cache = workspace / "cache"

    program = (
        "import sys, pathlib\nfrom components.curate.files import parts\n"
        "from tests.unit.curate.test_chunks import make\n"
        f"parts.CHUNK = {CHUNK}\nplace = pathlib.Path(sys.argv[1])\n"
        "make(place, cache=place / 'cache', engine={'type': 'ray', 'address': sys.argv[2]})\n"
    )
    driver = subprocess.Popen([sys.executable, "-c", program, str(workspace), cluster.address])
    until(cache, 3)
    driver.send_signal(signal.SIGKILL)
    driver.wait()
    before = {path.name: path.stat().st_ino for path in cache.glob("*.parquet")}
    assert 3 <= len(before) < total

    killed = []  # how many chunks were done when the node was

    def kill() -> None:
        until(cache, len(before) + 3)
        cluster.workers()[0].kill()
        until(cache, len(before) + 8)
        killed.append(len(list(cache.glob("*.parquet"))))
        cluster.kill(1)

    killer = threading.Thread(target=kill)
    killer.start()
    resumed = make(workspace, cache=cache, engine=on_ray(cluster))
    killer.join()
    assert resumed == expected
    assert killed and killed[0] < total
    after = {path.name: path.stat().st_ino for path in cache.glob("*.parquet")}
    assert len(after) == total and before.items() <= after.items()  # taken, not made again


def test_tokenize_gives_the_same_bytes(tmp_path, monkeypatch, cluster):
    monkeypatch.setattr(corpus, "PART_BYTES", 20_000)
    write_parts(tmp_path)
    run_component(components.load("tokenize"), tmp_path, {"vocabulary_size": 400})
    expected = made_by_tokenize(tmp_path)
    run_component(components.load("tokenize"), tmp_path, {"vocabulary_size": 400, "engine": on_ray(cluster)})
    assert made_by_tokenize(tmp_path) == expected


def test_an_error_of_a_task_is_raised_in_its_turn(cluster):
    results = engine.run(work.fail_at_three, range(6), EngineParameters(**on_ray(cluster)), 0)
    assert [next(results) for _ in range(3)] == [0, 1, 2]
    with pytest.raises(ValueError, match="three"):
        next(results)


def test_a_cluster_that_is_not_there_is_named():
    with pytest.raises(InputProblem, match=r"no Ray cluster answers at 127\.0\.0\.1:1 .*start one"):
        list(engine.run(work.square, range(2), EngineParameters(type="ray", address="127.0.0.1:1"), 0))


@pytest.mark.nightly  # Ray itself tries for 20 seconds
def test_a_cluster_that_knows_another_token_is_named(cluster):
    environment = {**os.environ, "RAY_AUTH_TOKEN": "0" * 64}  # Ray reads it once a process
    program = (
        "import sys\nfrom components.engine import EngineParameters, run\n"
        "list(run(abs, range(2), EngineParameters(type='ray', address=sys.argv[1]), 0))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, cluster.address], env=environment, capture_output=True, text=True, timeout=120
    )
    assert "InputProblem" in done.stderr and "RAY_AUTH_TOKEN" in done.stderr
