"""How a candidate is trained: where it starts, and the held-out documents that it is measured on.

It goes on from the champion's weights, stands on the champion's decoder as it is, or starts from scratch. The held-out
set is that of the first champion, the same documents for every candidate after it, which are never trained on. A split
by content hash alone does not do this: the shares that a hash is held against move with the size of the corpus, and a
new document that resembles two clusters makes one of them. So the test split of the champion's corpus is copied, once,
to ``data/raw/held_out``, where it is versioned like all raw data, and ``curate.split.held_out`` names it.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import Any

from sqlalchemy import select

import components
from components.contract import ArtifactSpec
from core import dvc
from core.workspace import Workspace
from flows.pipeline.prepare import Prepared
from flows.pipeline.promotion import ALIAS
from flows.pipeline.raw_data import RAW
from flows.retraining.parameters import FROZEN, RetrainParameters
from flows.retraining.sources import RawFile
from registry.db.database import open as open_registry
from registry.db.schema import Artifact, Event, Execution
from registry.errors import MissingBytes
from registry.integrity.history import resolve
from registry.lineage.traversal import upstream
from registry.store.manifests import FolderManifests
from registry.store.materialize import materialize

CORPUS = "data/corpus"
TEST_FILES = "test-*.parquet"
PARAMETER = "curate.split.held_out"
DECODER_STAGE = "pretrain"


@dataclass(frozen=True)
class HeldOut:
    """What a run is given for the held-out set.

    Attributes:
        overrides: of its parameters.
        files: to be copied into ``data/raw`` first.
        note: for the report.
    """

    overrides: dict[str, Any] = field(default_factory=dict)
    files: list[RawFile] = field(default_factory=list)
    note: str | None = None


def held_out(workspace: Workspace, values: Mapping[str, Any], rules: RetrainParameters, champion: str) -> HeldOut:
    """How a retraining keeps the held-out set; changes nothing.

    Raises:
        MissingBytes: the champion's corpus is not in DVC's cache.
    """
    if rules.held_out == "fresh":
        return HeldOut(note="the test split is divided anew: retrain.held_out is fresh")
    if ((values.get("curate") or {}).get("split") or {}).get("held_out"):
        return HeldOut()  # params.yaml names one
    setting = {PARAMETER: [f"{RAW}/{FROZEN}/{TEST_FILES}"]}
    keep = f"for your own runs: stemma run --set '{PARAMETER}=[{setting[PARAMETER][0]}]'"
    if any((workspace.root / RAW / FROZEN).glob(TEST_FILES)):
        return HeldOut(setting, note=f"the held-out set is that of {RAW}/{FROZEN} ({keep})")
    files = _test_split(workspace, champion)
    if not files:
        return HeldOut(note=f"{champion} was made of a corpus without a test split, so there is none to keep")
    return HeldOut(setting, files, f"the test split of {champion} is kept in {RAW}/{FROZEN} from now on ({keep})")


def decoder() -> ArtifactSpec:
    """What the pretraining stage makes: its path in the workspace, and the name of its registered model."""
    return next(output for output in components.load(DECODER_STAGE).outputs if output.registered_model)


def overrides(rules: RetrainParameters) -> dict[str, Any]:
    """The parameters that make pretraining start where ``retrain.start`` says.

    Going on from a model, its tokenizer stays too: another one would give its embedding other tokens to mean.
    """
    if rules.start == "finetune":
        return {}
    if rules.start == "scratch":
        return {f"{DECODER_STAGE}.init": "scratch"}
    model = f"{decoder().registered_model}@{ALIAS}" if rules.start == "champion" else rules.start
    return {f"{DECODER_STAGE}.init": f"registry:{model}", "tokenize.tokenizer": "parent"}


def keep_decoder(prepared: Prepared) -> None:
    """Put the champion's decoder into the run's tree, and leave out the stages that only lead to a new one.

    Raises:
        RegistryError: its files are not to be had, or are not what was recorded.
    """
    graph, made = prepared.graph, decoder()
    wanted = graph.descendants([DECODER_STAGE]) - {DECODER_STAGE}
    waiting = list(wanted)
    while waiting:
        parents = graph.parents[waiting.pop()] - wanted - {DECODER_STAGE}
        wanted |= parents
        waiting += parents
    try:
        files = materialize(prepared.workspace, f"{made.registered_model}@{ALIAS}")
        folder = prepared.root / made.path
        shutil.rmtree(folder, ignore_errors=True)  # its bytes may be links into the cache
        shutil.copytree(files, folder, copy_function=shutil.copyfile)
        prepared.stages[:] = [stage for stage in prepared.stages if stage in wanted]
        prepared.run_state.lines = {stage: prepared.run_state.lines[stage] for stage in prepared.stages}
        prepared.changed = dvc.status(prepared.root)
    except BaseException:
        prepared.worktree.remove()
        raise


def _test_split(workspace: Workspace, champion: str) -> list[RawFile]:
    """The files of the newest corpus that the champion was made of."""
    with open_registry(workspace.registry_url) as registry, registry.read() as session:
        corpus = session.scalars(
            select(Artifact.digest)
            .join(Event, Event.artifact_id == Artifact.id)
            .join(Execution, Execution.id == Event.execution_id)
            .where(
                Event.execution_id.in_(upstream(session, resolve(workspace, session, champion).execution_id)),
                Event.direction == "OUTPUT",
                Event.path == CORPUS,
            )
            .order_by(Execution.started.desc())
        ).first()
    files = FolderManifests(workspace).files(corpus, CORPUS) if corpus is not None else {}
    if files is None:
        raise MissingBytes(f"the corpus of {champion} is not in DVC's cache; bring it back with `dvc pull`")
    cache = dvc.cache_folder(workspace.root)
    found = [
        RawFile(dvc.object_path(cache, md5), f"{FROZEN}/{name}", md5)
        for name, md5 in sorted(files.items())
        if fnmatchcase(name, TEST_FILES)
    ]
    if gone := [file for file in found if not file.path.is_file()]:
        raise MissingBytes(
            f"{gone[0].name} of {champion}'s corpus is not in DVC's cache; bring it back with `dvc pull`"
        )
    return found
