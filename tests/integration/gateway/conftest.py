"""A real workspace with registered, signed, promoted models, and gateways before real engines."""

from __future__ import annotations

import json
import os
import resource
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest

from core.workspace import Workspace
from registry.lineage.sync import sync
from registry.promotion.promote import promote
from tests.workspace import init_dvc

HERE = Path(__file__).parent
# An engine that starts in a fraction of a second, for what is the gateway's own work.
ENGINE = f"{sys.executable} {HERE / 'tiny_engine.py'} {{model}} {{port}}"
SMALL = "assistant@small"  # what the gateway before that engine follows
LENGTH, CONTEXT = 120, 160  # words that the assistant counts, and tokens of its context
PIPELINE = """
stages:
  train:
    cmd: exec python stage.py
    deps: [data/raw, stage.py, counting_models.py]
    params: [train]
    outs: [models/assistant, models/base, models/classifier]
    metrics: [receipts/train.json: {cache: false}]
"""
FILES = 1024  # that a gateway may have open, as on many systems
START_SECONDS = 180.0  # what an engine may take to load on a machine that does much else


def eventually(what: Callable[[], Any], seconds: float = START_SECONDS) -> Any:
    """The first true result of ``what``."""
    end = time.monotonic() + seconds
    while True:
        result = what()
        if result:
            return result
        if time.monotonic() > end:
            raise AssertionError(f"still not so after {seconds:g} s: {result!r}")
        time.sleep(0.1)


@dataclass
class Lab:
    """The workspace: ``assistant:1`` and ``assistant:2`` (and as many of the others), the first ones promoted."""

    root: Path

    @property
    def workspace(self) -> Workspace:
        return Workspace.find(self.root)

    def promote(self, version: str, alias: str = "champion") -> None:
        """By force: counting models were measured by nothing."""
        assert promote(self.workspace, version, alias, "the test asks for it", "Ada", force=True).accepted


@dataclass
class Gateway:
    """A running gateway."""

    url: str
    process: subprocess.Popen[bytes]
    log: Path

    def health(self, reference: str = "assistant@champion") -> dict[str, Any]:
        models = httpx.get(f"{self.url}/health", trust_env=False, timeout=30).json()["models"]
        return next(model for model in models if model["reference"] == reference)

    def serves(self, version: str) -> bool:
        """Whether the version answers (under whatever alias)."""
        models = httpx.get(f"{self.url}/health", trust_env=False, timeout=30).json()["models"]
        return any(model["version"] == version and model["state"] == "serving" for model in models)

    def engines(self) -> list[psutil.Process]:
        """The engines' processes, by no other way than the system's."""
        return [child for child in self._children() if not self._measures_prompts(child)]

    def prompt_workers(self) -> list[psutil.Process]:
        """The processes that measure prompts."""
        return [child for child in self._children() if self._measures_prompts(child)]

    def _children(self) -> list[psutil.Process]:
        return [child for child in psutil.Process(self.process.pid).children() if child.status() != "zombie"]

    @staticmethod
    def _measures_prompts(child: psutil.Process) -> bool:
        return any(word.endswith("prompt_worker.py") for word in child.cmdline())

    def engine_of(self, reference: str) -> psutil.Process:
        """The engine that serves a reference, as its command says."""
        digest = self.health(reference)["digest"]
        return next(child for child in self.engines() if any(digest in word for word in child.cmdline()))


@contextmanager
def gateway(root: Path, log: Path, *arguments: str, **environment: str) -> Iterator[Gateway]:
    """A gateway of its own; nothing of it is left afterwards."""
    command = [sys.executable, "-m", "deploy.gateway", "--port", "0", *arguments]
    with open(log, "wb") as output:
        process = subprocess.Popen(
            command, cwd=root, stderr=output, stdout=output, env={**os.environ, "OMP_NUM_THREADS": "1", **environment},
            preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (FILES, FILES)),
        )  # fmt: skip
    children: list[psutil.Process] = []
    try:

        def listening() -> str | None:
            assert process.poll() is None, log.read_text()
            head = next((line for line in log.read_text().splitlines() if line.startswith("Stemma gateway: ")), None)
            return head.split()[2] if head else None

        yield Gateway(eventually(listening), process, log)
        if process.poll() is None:
            children = psutil.Process(process.pid).children(recursive=True)
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
            try:
                process.wait(30)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
    assert not [child for child in children if child.is_running() and child.status() != "zombie"]


@pytest.fixture(scope="package", autouse=True)
def _environment() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        for name in ("STEMMA_HOME", "STEMMA_REGISTRY_URL", "MLFLOW_TRACKING_URI", "STEMMA_SIGNING_KEY",
                     "STEMMA_TRUSTED_KEYS", "STEMMA_API_KEYS", "STEMMA_API_KEY"):  # fmt: skip
            patch.delenv(name, raising=False)
        patch.setenv("PATH", f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")
        for name in ("DVC_NO_ANALYTICS", "DO_NOT_TRACK", "MLFLOW_DISABLE_TELEMETRY"):
            patch.setenv(name, "true")
        yield


@pytest.fixture(scope="package")
def lab(tmp_path_factory: pytest.TempPathFactory, _environment: None) -> Lab:
    """Two versions of each model; the assistant's and the classifier's first ones are champions."""
    root = tmp_path_factory.mktemp("serving") / "work@space"  # "@" in a path means a revision to some engines
    (root / "data" / "raw").mkdir(parents=True)
    (root / "data" / "raw" / "a.txt").write_text("the raw text\n")
    (root / "dvc.yaml").write_text(PIPELINE)
    (root / ".gitignore").write_text("/.stemma/\n/models/\n__pycache__/\n")
    for name in ("stage.py", "counting_models.py"):
        shutil.copy(HERE / name, root / name)

    def run(*command: str, **environment: str) -> None:
        done = subprocess.run(command, cwd=root, capture_output=True, text=True, env={**os.environ, **environment})
        assert done.returncode == 0, done.stderr

    run("git", "init", "-q", "-b", "main")
    run("git", "config", "user.name", "Ada")
    run("git", "config", "user.email", "ada@example.org")
    init_dvc(root)
    run("git", "add", ".")
    run("git", "commit", "-qm", "A workspace")
    lab = Lab(root)
    for tag, sharpness in (("one", 1.0), ("two", 2.0)):
        train = {"tag": tag, "length": LENGTH, "context": CONTEXT, "sharpness": sharpness}
        (root / "params.yaml").write_text(json.dumps({"train": train}))
        run(sys.executable, "-m", "dvc", "repro", "-q", TEST_RUN=tag)
        report = sync(lab.workspace, run=tag, update_mlflow=False)
        assert not report.problems, report.problems
    for name in ("assistant:1", "classifier:1", "base:1"):
        lab.promote(name)
    return lab


@pytest.fixture(scope="package")
def serving(lab: Lab, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    """A gateway with the real engines for all three models."""
    models = [word for name in ("assistant", "classifier", "base") for word in ("--model", f"{name}@champion")]
    log = tmp_path_factory.mktemp("gateway") / "log"
    with gateway(lab.root, log, *models, "--rate-limit", "0") as running:
        for name in ("assistant", "classifier", "base"):
            eventually(lambda name=name: running.health(f"{name}@champion")["state"] == "serving")
        yield running


@pytest.fixture
def first_champion(lab: Lab, serving: Gateway) -> None:
    """``assistant:1`` holds the alias and answers, whatever the test before has done."""
    lab.promote("assistant:1")
    eventually(lambda: serving.serves("assistant:1") and serving.health()["starting"] is None)


@pytest.fixture(scope="package")
def small_gateway(lab: Lab, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    """A gateway before the small engine; it follows an alias of its own."""
    lab.promote("assistant:1", SMALL.partition("@")[2])
    log = tmp_path_factory.mktemp("small-gateway") / "log"
    with gateway(lab.root, log, "--engine", ENGINE, "--model", SMALL, "--rate-limit", "0") as running:
        eventually(lambda: running.serves("assistant:1"))
        yield running


@pytest.fixture
def small(lab: Lab, small_gateway: Gateway) -> Gateway:
    """As it was at first: ``assistant:1`` holds the alias and answers."""
    if not small_gateway.serves("assistant:1"):
        lab.promote("assistant:1", SMALL.partition("@")[2])
        eventually(lambda: small_gateway.serves("assistant:1"))
    return small_gateway
