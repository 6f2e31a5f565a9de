"""Reading what the stages left: ``dvc.lock`` has the digests, the receipts how the bytes were made."""

from __future__ import annotations

import contextlib
import hashlib
import json
import math
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from ruamel.yaml.error import YAMLError

from core import bounded, layout
from core.keys import Signed, canonical

SCHEMA = 1  # newest format of receipts this code reads


class _Record(BaseModel):
    model_config = ConfigDict(extra="ignore", frozen=True)


class ComponentRecord(_Record):
    name: str
    version: str
    code_digest: str


class InputRecord(_Record):
    name: str
    path: str
    type: str
    role: str
    digest: str | None = None
    size: int | None = None


class OutputRecord(_Record):
    name: str
    path: str
    type: str
    role: str
    registered_model: str | None = None
    digest: str | None = None  # of receipts that name what was written
    size: int | None = None


class MetricRecord(_Record):
    name: str
    value: float
    stderr: float | None = None
    n: int | None = None
    eval_set: str | None = None
    higher_is_better: bool | None = None
    baselines: dict[str, float] = Field(default_factory=dict)


class MlflowRecord(_Record):
    run_id: str | None = None
    experiment_id: str | None = None
    parent_run_id: str | None = None


class PrefectRecord(_Record):
    flow_run_id: str | None = None
    task_run_id: str | None = None


class GitRecord(_Record):
    commit: str | None = None
    dirty: bool | None = None


class Receipt(_Record):
    """``receipts/<stage>.json``, as the harness writes it; unknown keys are ignored, so that it may grow."""

    schema_version: int = Field(alias="schema")
    stage: str
    component: ComponentRecord
    fingerprint: str
    run: str | None = None
    parameters: dict[str, Any] = Field(default_factory=dict)
    non_default: dict[str, Any] = Field(default_factory=dict)
    seed: int | None = None
    inputs: list[InputRecord] = Field(default_factory=list)
    outputs: list[OutputRecord] = Field(default_factory=list)
    metrics: list[MetricRecord] = Field(default_factory=list)
    headline: str | None = None
    skipped: str | None = None  # why the stage had nothing to do; its outputs are empty then
    warnings: list[str] = Field(default_factory=list)
    git: GitRecord = GitRecord()
    mlflow: MlflowRecord = MlflowRecord()
    prefect: PrefectRecord = PrefectRecord()
    environment: dict[str, Any] = Field(default_factory=dict)
    device: str | None = None
    processes: int | None = None
    tokens: int | None = None
    started: float
    ended: float | None = None
    seconds: float | None = None
    error: str | None = None  # what failed, in the receipt of a failure


@dataclass(frozen=True)
class Bytes:
    """An input or output with its digest.

    Attributes:
        algo: hash algorithm, as DVC names it.
        size: bytes.
        files: number of files, for a folder.
        origin: where it was imported from; ``None`` for what a stage made, and for raw data.
    """

    name: str
    path: str
    type: str
    role: str
    algo: str
    digest: str
    size: int | None
    files: int | None
    registered_model: str | None = None
    origin: str | None = None


@dataclass(frozen=True)
class StageRecord:
    """A finished stage: its receipt, with the digests of everything it read and wrote.

    ``signed`` is the receipt as the harness signed it; ``None`` where it carries no signature.
    """

    stage: str
    receipt: Receipt
    inputs: tuple[Bytes, ...]
    outputs: tuple[Bytes, ...]
    signed: Signed | None = None


@dataclass(frozen=True)
class WorkspaceRecord:
    """All finished stages of a workspace.

    Attributes:
        raw: raw data under DVC's control (``data/*.dvc``), used by a stage or not.
        lock_digest: md5 of ``dvc.lock``; empty where there is none.
        problems: everything that could not be used, and why.
    """

    stages: tuple[StageRecord, ...]
    raw: tuple[Bytes, ...]
    lock_digest: str
    problems: tuple[str, ...]


def read(root: Path) -> WorkspaceRecord:
    """Read ``dvc.lock``, every receipt whose digest is in it, and ``data/*.dvc``."""
    problems: list[str] = []
    raw = tuple(_read_raw(root, problems))
    lock, digest = _read_lock(root / "dvc.lock", problems)
    stages = []
    for stage, entry in lock.items():
        record = _read_stage(root, stage, entry, problems)
        if record is not None:
            stages.append(record)
    return WorkspaceRecord(tuple(stages), raw, digest, tuple(problems))


def read_failures(home: Path) -> dict[Path, Receipt]:
    """Receipts of failed executions that stages left in the home, by file; what is unreadable stays where it is."""
    failures: dict[Path, Receipt] = {}
    for path in sorted(layout.failures(home).glob("*.json")):
        with contextlib.suppress(OSError, ValueError):  # another sync may have taken it; it may be no receipt
            receipt = Receipt.model_validate(json.loads(path.read_bytes()))
            if receipt.schema_version <= SCHEMA:
                failures[path] = receipt
    return failures


def _read_lock(path: Path, problems: list[str]) -> tuple[dict[str, Any], str]:
    for _ in range(4):
        if not path.exists():
            return {}, ""
        content = path.read_bytes()
        try:
            parsed = bounded.yaml(content, fast=True) or {}
            return parsed.get("stages") or {}, hashlib.md5(content, usedforsecurity=False).hexdigest()
        except (YAMLError, AttributeError, UnicodeDecodeError) as error:
            reason = str(error).splitlines()[0]
        time.sleep(0.1)  # DVC may be writing it
    problems.append(f"{path.name}: not readable ({reason}); run `dvc repro` or restore it from git")
    return {}, ""


def _read_stage(root: Path, stage: str, entry: dict[str, Any], problems: list[str]) -> StageRecord | None:
    """``None``, with the reason among the problems, where no receipt has the digest of the stage's lock entry."""
    outs = {out["path"]: out for out in entry.get("outs", [])}
    deps = {dep["path"]: dep for dep in entry.get("deps", [])}
    path = next((path for path in outs if path.startswith("receipts/") and path.endswith(".json")), None)
    if path is None:
        return None  # a stage of the user's own, outside the contract
    if not (root / path).is_file():
        problems.append(f"{path}: missing, though dvc.lock lists it; run `dvc checkout` or `dvc repro`")
        return None
    content = (root / path).read_bytes()
    if hashlib.md5(content, usedforsecurity=False).hexdigest() != outs[path].get("md5"):
        problems.append(f"{path}: newer than dvc.lock ({stage} is running or was interrupted); run `dvc repro`")
        return None
    try:
        body = json.loads(content)
        receipt, signed = Receipt.model_validate(body), signed_text(body)
    except (ValidationError, ValueError) as error:
        lines = (
            [f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors()]
            if isinstance(error, ValidationError)
            else [str(error)]
        )
        problems.append(f"{path}: not a receipt ({'; '.join(lines)}); run `dvc repro --force {stage}`")
        return None
    if receipt.schema_version > SCHEMA:
        problems.append(f"{path}: format {receipt.schema_version} is newer than this version of Stemma; update Stemma")
        return None
    receipt = finite(receipt, path, problems)

    inputs, outputs = [], []
    origins = _origins(root)
    for item in receipt.inputs:
        found = _hashed(item, deps.get(item.path))
        if found is None:
            problems.append(f"{path}: input {item.path} has no digest in dvc.lock; list it among the deps of {stage}")
            continue
        if item.digest is not None and item.digest != found.digest:
            problems.append(
                f"{path}: records {item.path} as {item.digest}, dvc.lock as {found.digest}: it changed while "
                f"{stage} ran; run `dvc repro`"
            )
            return None
        inputs.append(replace(found, origin=origins.get((found.path, found.digest))))
    for output in receipt.outputs:
        made = _hashed(output, outs[output.path]) if output.path in outs else None
        if made is None:
            named = f"{path}: output {output.path}"
            problems.append(f"{named} has no digest in dvc.lock; list it among the outs of {stage}")
            continue
        if output.digest is not None and output.digest != made.digest:
            problems.append(
                f"{path}: {stage} wrote {output.path} as {output.digest}, dvc.lock has it as {made.digest}: it was "
                f"changed afterwards; make it again: dvc repro --force --single-item {stage}"
            )
            return None
        outputs.append(made)
    return StageRecord(stage, receipt, tuple(inputs), tuple(outputs), signed)


def signed_text(body: dict[str, Any]) -> Signed | None:
    """What the harness signed of a receipt, with its signature; ``None`` where there is none."""
    signature = body.get("signature")
    if not isinstance(signature, dict):
        return None
    rest = canonical({name: value for name, value in body.items() if name != "signature"})
    return Signed(rest, str(signature.get("key")), str(signature.get("value")))


def finite(receipt: Receipt, path: str, problems: list[str]) -> Receipt:
    """Without metrics that are not finite, which databases and JSON refuse; each becomes a problem."""
    usable = []
    for metric in receipt.metrics:
        if not math.isfinite(metric.value):
            problems.append(f"{path}: {metric.name} is {metric.value}, so it is not recorded; see the stage's report")
            continue
        stderr = metric.stderr if metric.stderr is None or math.isfinite(metric.stderr) else None
        baselines = {name: value for name, value in metric.baselines.items() if math.isfinite(value)}
        usable.append(metric.model_copy(update={"stderr": stderr, "baselines": baselines}))
    return receipt.model_copy(update={"metrics": usable})


def _hashed(item: InputRecord | OutputRecord, entry: dict[str, Any] | None) -> Bytes | None:
    algo = (entry or {}).get("hash", "md5")
    digest = (entry or {}).get(algo) or getattr(item, "digest", None)
    if digest is None:
        return None
    size = (entry or {}).get("size", getattr(item, "size", None))
    files = (entry or {}).get("nfiles")
    registered = getattr(item, "registered_model", None)
    return Bytes(item.name, item.path, item.type, item.role, algo, digest, size, files, registered)


def _origins(root: Path) -> dict[tuple[str, str], str]:
    """Where models came from that no stage of any workspace made, by path and digest.

    ``meta`` of a folder's ``models/*.dvc`` names the origin; a folder from the registry has its maker there.
    """
    found: dict[tuple[str, str], str] = {}
    for path in sorted((root / "models").glob("*.dvc")):
        with contextlib.suppress(OSError, YAMLError, AttributeError, KeyError, IndexError, TypeError):
            body = bounded.yaml(path.read_bytes(), fast=True)
            meta, out = body["meta"], body["outs"][0]
            if not str(meta["init"]).startswith("registry:"):
                licence = f" (licence {meta['license']})" if meta.get("license") else ""
                found[f"models/{out['path']}", str(meta["digest"])] = f"{meta['source']}{licence}"
    return found


def _read_raw(root: Path, problems: list[str]) -> Iterator[Bytes]:
    for path in sorted((root / "data").glob("*.dvc")):
        try:
            outs = (bounded.yaml(path.read_bytes(), fast=True) or {}).get("outs", [])
        except (YAMLError, AttributeError) as error:
            problems.append(f"data/{path.name}: not readable ({str(error).splitlines()[0]}); run `dvc add` again")
            continue
        for out in outs:
            algo = out.get("hash", "md5")
            if out.get(algo):
                yield Bytes(
                    "raw", f"data/{out['path']}", "raw", "raw", algo, out[algo], out.get("size"), out.get("nfiles")
                )
