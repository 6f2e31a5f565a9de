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
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache, partial
from pathlib import Path
from typing import Any, TypeVar

from components.compute import cluster
from components.compute.node import disk, versions
from components.compute.parameters import Compute
from components.compute.remote_files import Files, RemoteFiles
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
        self.hosts: set[str] = set()  # nodes that have done a share
        self._ray: Any = None
        self._places: dict[Path, Any] = {}

    def run(
        self, load: Load, folder: Path, function: Callable[[Any, Share], Result], shares: Iterable[Share]
    ) -> Iterator[Result]:
        """``function`` of what ``load`` makes of the model's folder, and each share; in their order.

        Args:
            load: as ``function`` importable by its name.

        Raises:
            InputProblem: no cluster answers; or a node has not got the model, or other libraries.
        """
        if folder not in self._places:
            self._places[folder] = self._place_of(folder)
        self._connect()
        called = partial(_asked, function, load, self._places[folder], self.compute.cpus, versions())
        for host, result in tasks.spread(self._ray, called, shares, self._options()):
            self.hosts.add(host)
            yield result

    def close(self) -> None:
        """End the connection, and the copies with it."""
        if self._ray is not None:
            self._ray.shutdown()
            self._ray = None

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
        gpus = max((int(node["resources"].get("GPU", 0)) for node in cluster.alive(self._ray)), default=0)
        wanted = cluster.bundle(self.compute, 1, gpus)
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


@lru_cache(maxsize=1)  # a process works on many shares, one after the other
def _loaded(load: Load, place: Any, cpus: int, libraries: tuple[tuple[str, str], ...]) -> Any:
    """The model, in this process; ``place`` is its folder, or where it is to be fetched from."""
    import torch

    host, here = socket.gethostname(), versions()
    if other := [f"{name} {here.get(name)}, not {version}" for name, version in libraries if here.get(name) != version]:
        raise InputProblem(f"node {host} has {'; '.join(other)}: install the same on all machines")
    torch.set_num_threads(cpus)
    if not isinstance(place, _Travelled):
        if not os.path.isdir(place):
            raise InputProblem(
                f"node {host} has no {place}: let the workspace lie on a disk that all nodes share, under the same "
                "path, or set storage"
            )
        return load(Path(place))
    store = disk() / "files"
    private_folder(store)
    files: Files = dict(place.files)
    with tempfile.TemporaryDirectory(prefix="model-", dir=disk()) as folder, kept.using(store):
        # What is loaded is mapped or in memory, so the links can go again.
        RemoteFiles(place.url).fetch_kept(files, Path(folder), store, lambda: False)
        return load(Path(folder))
