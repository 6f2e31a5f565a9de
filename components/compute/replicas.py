"""Copies of a model on the nodes of a Ray cluster, which share what the model is asked.

A share is worked on by whichever copy is free. A copy that is lost, with its process or its node, costs the shares that
it had: Ray has them done again elsewhere. Results come in the order of the shares, so that they are the same bytes
wherever each was made, as long as a share is one batch and the nodes are alike.
"""

from __future__ import annotations

import os
import signal
import socket
import tempfile
from collections import Counter
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache, partial
from pathlib import Path
from typing import Any, TypeVar

from components.compute import cluster
from components.compute.node import disk, versions
from components.compute.parameters import Compute
from components.compute.remote_files import NO_STORE, Files, RemoteFiles
from components.engine import cluster as tasks
from components.engine import kept
from components.engine.connection import connected
from core.errors import InputProblem, said
from core.files import private_folder

Share = TypeVar("Share")
Result = TypeVar("Result")
Load = Callable[[Path], Any]


class Replicas:
    """The copies of a stage's model.

    Args:
        compute: of the stage: the cluster, and what each copy is given.
        stage: for messages.
    """

    def __init__(self, compute: Compute, stage: str):
        self.compute, self.stage = compute, stage
        self.hosts: Counter[str] = Counter()  # nodes that have done shares, and how many
        self._here = 0  # shares that this process did beside them
        self._ray: Any = None
        self._places: dict[Path, Any] = {}
        self._looked: set[Path] = set()  # models that all nodes were asked about

    def run(
        self, load: Load, folder: Path, function: Callable[[Any, Share], Result], shares: Iterable[Share]
    ) -> Iterator[Result]:
        """``function`` of what ``load`` makes of the model's folder, and each share; in their order.

        Args:
            load: as ``function`` importable by its name.

        Raises:
            InputProblem: no cluster answers; or a node has not got the model, or other libraries.
        """
        called = self._called(load, folder, function)
        for host, result in tasks.spread(self._ray, called, shares, self._options()):
            self.hosts[host] += 1
            yield result

    def help(
        self, load: Load, folder: Path, function: Callable[[Any, Share], Result], shares: Sequence[Share], own: Any
    ) -> Generator[tuple[int, Result]]:
        """As :meth:`run`, with this process working too: the place of each share and its result, as they are done.

        Every node that could have a copy is asked first whether it could work, so no shares at all are a check.

        Args:
            own: what ``load`` makes of the folder, here.
        """
        if len(shares) == 1:  # done before a copy has it
            self._here += 1
            yield 0, function(own, shares[0])
            return
        called = self._called(load, folder, function)
        if folder not in self._looked:
            self._look(self._places[folder])
            self._looked.add(folder)

        def done_here(share: Share) -> tuple[None, Result]:
            return None, function(own, share)

        for place, (host, result) in tasks.shared(self._ray, called, shares, self._options(), done_here):
            if host is None:
                self._here += 1
            else:
                self.hosts[host] += 1
            yield place, result

    def said(self) -> str:
        """How many shares were done where."""
        each = [f"{number} by {host}" for host, number in sorted(self.hosts.items())]
        return ", ".join(["ray", *each, f"{self._here} by the process itself"])

    def close(self) -> None:
        """End the connection, and the copies with it."""
        if self._ray is not None:
            self._ray.shutdown()
            self._ray = None

    def _called(self, load: Load, folder: Path, function: Callable[[Any, Share], Result]) -> Any:
        """What a copy calls with a share; the connection is there."""
        if folder not in self._places:
            self._places[folder] = self._place_of(folder)
        self._connect()
        return partial(_asked, function, load, self._places[folder], self.compute.cpus, versions())

    def _look(self, place: Any) -> None:
        """Ask each node that has room for a copy whether it has libraries and model; where that travels, it is fetched.

        Raises:
            InputProblem: with what keeps each of them from it.
        """
        from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

        nodes = cluster.alive(self._ray)
        wanted = cluster.bundle(self.compute, 1, cluster.most_gpus(nodes))
        asked = [
            self._ray.remote(num_cpus=0, scheduling_strategy=NodeAffinitySchedulingStrategy(node["id"], soft=False))(
                _problems
            ).remote(place, versions())
            for node in nodes
            if cluster.fits(node, wanted, self.compute.labels)
        ]
        found: list[str] = []
        for reference in asked:
            try:
                found += self._ray.get(reference)
            except self._ray.exceptions.RayTaskError:
                raise
            except self._ray.exceptions.RayError:
                continue  # it was lost meanwhile, and will have no copy
        if found:
            raise InputProblem([f"params.yaml: compute.{self.stage}: {problem}" for problem in found])

    def _connect(self) -> None:
        if self._ray is not None:
            return
        handlers = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
        self._ray = connected(self.compute.address, f"params.yaml: compute.{self.stage}")
        for number, handler in handlers.items():  # Ray has one of its own
            signal.signal(number, handler)

    def _place_of(self, folder: Path) -> Any:
        """Where nodes find a model."""
        if self.compute.storage is None:
            return str(folder)
        try:
            sent = RemoteFiles(self.compute.storage).upload(folder, lambda: False)
        except InputProblem:
            raise
        except Exception as error:  # every store has errors of its own
            where = f"params.yaml: compute.{self.stage}.storage"
            raise InputProblem(f"{where}: the model cannot be brought there: {said(error)}") from error
        return _Travelled(self.compute.storage, tuple(sorted(sent.items())))

    def _options(self) -> Mapping[str, Any]:
        wanted = cluster.bundle(self.compute, 1, cluster.most_gpus(cluster.alive(self._ray)))
        found = {"num_cpus": wanted["CPU"], "num_gpus": wanted.get("GPU", 0), "memory": wanted.get("memory")}
        return {**found, "label_selector": self.compute.labels or None}


@dataclass(frozen=True)
class _Travelled:
    """A model in object storage: the store's URL, and SHA-256 and size of its files by their paths."""

    url: str
    files: tuple[tuple[str, tuple[str, int]], ...]


def _asked(
    function: Callable[[Any, Share], Result], load: Load, place: Any, cpus: int, libraries: Any, share: Share
) -> tuple[str, Result]:
    import ray

    return str(ray.util.get_node_ip_address()), function(_loaded(load, place, cpus, tuple(libraries.items())), share)


@lru_cache(maxsize=2)  # a process works on many shares in turn; the stage has an answering and a reward model
def _loaded(load: Load, place: Any, cpus: int, libraries: tuple[tuple[str, str], ...]) -> Any:
    """The model, in this process; ``place`` is its folder, or where it is to be fetched from."""
    import torch

    if problem := _problem(place, dict(libraries)):
        raise InputProblem(problem)
    torch.set_num_threads(cpus)
    if not isinstance(place, _Travelled):
        return load(Path(place))
    with _fetched(place) as folder:
        return load(folder)  # mapped or in memory, so the links can go again


def _problems(place: Any, libraries: Mapping[str, str]) -> list[str]:
    """Why this node can have no copy, without loading one."""
    if problem := _problem(place, libraries):
        return [problem]
    try:
        if isinstance(place, _Travelled):
            with _fetched(place):
                pass
    except InputProblem as problem:
        return [f"node {socket.gethostname()}: {each}" for each in problem.problems]
    except Exception as error:  # every store has errors of its own
        return [f"node {socket.gethostname()}: {place.url}: {said(error)}: {NO_STORE}"]
    return []


def _problem(place: Any, libraries: Mapping[str, str]) -> str | None:
    host, here = socket.gethostname(), versions()
    other = [f"{name} {here.get(name)}, not {version}" for name, version in libraries.items()
             if here.get(name) != version]  # fmt: skip
    if other:
        return f"node {host} has {'; '.join(other)}: install the same on all machines"
    if not isinstance(place, _Travelled) and not os.path.isdir(place):
        return (
            f"node {host} has no {place}: let the workspace lie on a disk that all nodes share, under the same path, "
            "or set storage"
        )
    return None


@contextmanager
def _fetched(place: _Travelled) -> Iterator[Path]:
    """A folder with the model's files, which stay on this node's disk."""
    store = disk() / "files"
    private_folder(store)
    files: Files = dict(place.files)
    with tempfile.TemporaryDirectory(prefix="model-", dir=disk()) as folder:
        with kept.using(store):
            RemoteFiles(place.url).fetch_kept(files, Path(folder), store, lambda: False)
        kept.trim(store, [store / digest for digest, _ in files.values()])
        yield Path(folder)
