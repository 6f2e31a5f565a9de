"""A stage whose files travel by object storage, on the machine that asks for it: inputs there, then outputs back."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from components.compute.remote_files import RemoteFiles
from components.harness import offsite, outcomes
from core import events
from core.errors import InputProblem, said
from core.files import read_json, write_json
from core.transfers import NotAsWritten, Stopped

_ARTIFACT = b'{"kind": "artifact"'  # how an event begins that names a file of the outputs
Order = dict[str, Any]


def sent(order: Mapping[str, Any], stopping: Callable[[], bool]) -> Order:
    """The order for the nodes, once the store has all inputs and the newest checkpoint that this machine may have.

    Raises:
        InputProblem: the store cannot be used; or its checkpoints are another home's.
        Stopped: ``stopping`` became true.
    """
    storage, scratch = order["compute"]["storage"], Path(order["scratch"])
    files, record = RemoteFiles(storage), scratch / "tracking" / "sent.json"
    newest = ""
    known = read_json(record, {})  # after a lost node nothing is read again
    inputs = {name: Path(path) for name, path in order["inputs"].items()}
    try:
        found = {name: files.upload(path, stopping, known) for name, path in inputs.items()}
        write_json(record, known)
        if order["checkpoints"] is not None:
            newest = offsite.bring(offsite.of_description(order["checkpoints"]), scratch / "checkpoints", stopping)
    except (Stopped, InputProblem):
        raise
    except Exception as error:  # every store has errors of its own
        raise InputProblem(f"{storage}: the inputs cannot be brought there: {said(error)}") from error
    sizes = {digest: size for each in found.values() for digest, size in each.values()}
    size = f"{len(sizes)} files, {sum(sizes.values()) / 1e6:,.1f} MB"
    print(f"{order['component']}: its inputs ({size}) are at {storage}", file=sys.stderr)
    return {**order, "storage": storage, "sent": found, "checkpoint": newest}


def fetched(order: Mapping[str, Any], outcome: dict[str, Any], stopping: Callable[[], bool]) -> dict[str, Any]:
    """The outcome of the nodes, once the outputs that it names are here, byte for byte as they were made.

    Raises:
        Stopped: ``stopping`` became true.
    """
    if outcome["state"] != outcomes.COMPLETE:
        return outcome
    files, made, attached = RemoteFiles(order["storage"]), outcome.pop("made"), outcome.pop("attached")
    try:
        for name, path in order["outputs"].items():
            files.fetch(made[name], Path(path), stopping)
    except (InputProblem, NotAsWritten, FileNotFoundError) as error:
        return {"state": outcomes.FAILED, "problems": [f"{files.url}: an output is not as it was made: {said(error)}"]}
    except Stopped:
        raise
    except Exception as error:  # every store has errors of its own
        return {"state": outcomes.FAILED, "problems": [f"{files.url}: the outputs cannot be fetched: {said(error)}"]}
    for name, file in attached:
        if file in made.get(name, {}):
            events.append(Path(order["events"]), "artifact", path=str(Path(order["outputs"][name]) / file))
    return outcome


def followed(lines: bytes) -> bytes:
    """A node's events without those that name its files, which are not here yet."""
    return b"".join(line for line in lines.splitlines(keepends=True) if not line.startswith(_ARTIFACT))
