"""``models/parent``: the weights that ``pretrain.init`` names, where DVC, the fingerprint and the lineage see them.

A version of the registry is verified and laid there byte for byte, so its digest links the new model to it. A local
folder is copied and a hub id downloaded, as far as they are weights (safetensors), configuration and tokenizer. What
the bytes stand for is written under ``meta`` of ``models/parent.dvc`` (:mod:`components.pretrain.parent`).
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML

import components
from components import compute
from components.finetuning import demands, families, memory
from components.harness.parameters import validate
from components.pretrain.parameters import REGISTRY, PretrainParameters
from components.pretrain.parent import FOLDER, SCRATCH, Pointer, read_pointer
from core import dvc, files
from core.errors import InputProblem, StemmaError
from core.workspace import Workspace
from flows.importing import inspection, sources
from flows.importing.sources import Found

PARENT = Path(FOLDER)
STAGE = "pretrain"  # its parameters name it
READERS = frozenset({STAGE, "tokenize"})
#: Stages that have nothing to do where a part of the data has no source.
_READS = {
    "labels": ("classify_finetune",),
    "instructions": ("instruct_finetune", "reward_model", "preference_tune"),
}


@dataclass(frozen=True)
class Parent:
    """A model to go on from, or none: ``scratch``.

    Attributes:
        init: what ``pretrain.init`` says.
        source: what that is now: ``model:version``, a folder, or where it came from with its revision.
        digest: DVC's, of its files.
        folder: where they lie; ``None`` where ``models/parent``, or DVC's cache, has them already.
        names: those of the folder that are taken.
        found: how a model from outside was found.
    """

    init: str
    source: str | None = None
    digest: str | None = None
    folder: Path | None = None
    names: tuple[str, ...] = ()
    found: Found | None = None

    @property
    def pointer(self) -> Pointer | None:
        """What ``models/parent.dvc`` says once it is there; ``None``: there is no such file."""
        return None if self.init == SCRATCH else Pointer(self.digest, self.init, self.source, self.digest)


def init_in(values: Mapping[str, Any]) -> str | None:
    """``pretrain.init`` of the content of ``params.yaml``, whatever else it holds; ``None`` where it is none."""
    section = values.get(STAGE)
    given = {"init": section["init"]} if isinstance(section, Mapping) and "init" in section else {}
    try:
        return validate({STAGE: given}, STAGE, PretrainParameters).init
    except InputProblem:
        return None


def problems(workspace: Workspace, init: str) -> list[str]:
    """Why ``init`` names nothing to go on from, as far as that is known without the network; changes nothing."""
    from registry.db.database import open as open_registry
    from registry.errors import UnknownReference
    from registry.integrity.history import resolve

    if init == SCRATCH:
        return []
    if init.startswith(REGISTRY):
        try:
            with open_registry(workspace.registry_url) as registry, registry.read() as session:
                resolve(workspace, session, init.removeprefix(REGISTRY))
        except UnknownReference as unknown:
            return [str(unknown)]
        return []
    return sources.problems(workspace.root, init)


def find(
    workspace: Workspace, init: str, say: Callable[[str], None] = lambda line: None, *, with_tokenizer: bool = False
) -> Parent:
    """What ``init`` stands for now, its bytes verified or downloaded. The tree stays as it is.

    Args:
        say: called with a line before what takes time.
        with_tokenizer: its tokenizer is wanted too.

    Raises:
        InputProblem: there is nothing such, or it holds no weights, or no tokenizer where that is wanted.
        RegistryError: a registered version's bytes or signatures are not what was recorded, or are not to be had.
    """
    kept = read_pointer(workspace.root)
    if init == SCRATCH:
        return Parent(init)
    if refused := problems(workspace, init):
        raise InputProblem([f"params.yaml: pretrain.init: {problem}" for problem in refused])
    if init.startswith(REGISTRY):
        return _registered(workspace, init)
    if kept is not None and kept.init == init and kept.kept == kept.digest and _still(workspace.root, kept):
        return Parent(init, kept.source, kept.digest)
    try:
        found = sources.fetch(workspace.home, workspace.root, init, say)
    except InputProblem as problem:
        raise InputProblem([f"params.yaml: pretrain.init: {line}" for line in problem.problems]) from problem
    if with_tokenizer and (why := inspection.tokenizer_problem(found.folder)):
        raise InputProblem(f"params.yaml: pretrain.init: {why}")
    from registry.store.manifests import digest_of

    return Parent(init, found.source, digest_of(found.folder, found.names), found.folder, found.names, found)


def problems_of_family(root: Path, parent: Parent, stages: Iterable[str], values: Mapping[str, Any]) -> list[str]:
    """Which of the wanted ``stages`` cannot work with a model of the parent's family, as far as its files are here, or,
    where it is new, with its context and chat template.

    Stages that ``values``, the content of ``params.yaml``, give no data to are left out: they will be skipped.
    """
    if parent.init == SCRATCH:
        return []
    curate = values.get("curate") or {}
    without = {kind for kind in _READS if (curate.get(kind) or {}).get("source") == "none"}
    skipped = {stage for kind in without for stage in _READS[kind]}
    if (values.get(STAGE) or {}).get("steps") == 0:
        skipped.add(STAGE)  # it trains nothing
    wanted = [stage for stage in stages if stage not in skipped]
    packing = [stage for stage in wanted if (values.get(stage) or {}).get("packing", "none") != "none"]
    found = families.problems(parent.folder or root / PARENT, wanted, packing)
    found = [f"pretrain.init: {line}" for line in found]
    if parent.folder is not None and not found:
        decoder = families.draws_answers(parent.folder)
        found = demands.problems(parent.folder, wanted, values, asks=decoder and takes_tokenizer(values))
        found += _too_large(parent.folder, parent.init, wanted, values)
    return [f"params.yaml: {line}" for line in found]


def _too_large(folder: Path, init: str, wanted: Iterable[str], values: Mapping[str, Any]) -> list[str]:
    """Which of the fine-tuning stages that run on this machine cannot hold the model, all of whose sizes it has."""
    where, found = compute.read(values), []
    for stage in wanted:
        if stage in demands.STAGES and where.of(stage).kind == "local":
            parameters: Any = validate(values, stage, components.load(stage).parameters)
            if getattr(parameters, "train", "all") == "all":
                found.append(memory.problem(folder, f"pretrain.init: {init}", parameters, stage))
    return [why for why in found if why]


def refuse_to_lose(root: Path, changed: Mapping[str, object], parent: Parent) -> None:
    """Stop where ``models/parent`` holds files of which there is no other copy.

    Args:
        changed: what ``dvc status`` says has changed.

    Raises:
        InputProblem: it does.
    """
    pointer = read_pointer(root)
    kept = is_placed(root, parent) and f"{PARENT}.dvc" not in changed
    if kept or not _has_files(root / PARENT):
        return
    from registry.store.manifests import digest_of

    if digest_of(root / PARENT) not in {parent.digest, pointer.digest if pointer else None}:
        raise InputProblem(
            f"{PARENT}: holds files that pretrain.init did not bring; move them to another folder, and name that in "
            "pretrain.init to go on from them"
        )


def is_placed(root: Path, parent: Parent) -> bool:
    """True when ``models/parent`` holds the parent, or nothing for none; its bytes are taken for what DVC says."""
    there = (root / PARENT).is_dir() if parent.init == SCRATCH else _has_files(root / PARENT)
    return there and read_pointer(root) == parent.pointer


def place(root: Path, parent: Parent, say: Callable[[str], None]) -> bool:
    """Bring the parent into the tree at ``root``, and say so; True if anything was changed.

    Interrupted at any moment, the next call finishes it.

    Raises:
        dvc.DvcError: DVC refused.
        InvalidBytes: the files changed while they were copied.
    """
    if is_placed(root, parent):
        return False
    folder, pointer_file = root / PARENT, root / f"{PARENT}.dvc"
    before = read_pointer(root)
    if parent.init == SCRATCH:
        pointer_file.unlink(missing_ok=True)
        if _has_files(folder):
            shutil.rmtree(folder)
            say(f"{PARENT}: emptied, since pretrain.init is {SCRATCH}; {_gone(before)} stays in DVC's cache")
        folder.mkdir(parents=True, exist_ok=True)
        return True
    if parent.folder is None:
        dvc.run(root, "checkout", "--quiet", "--force", str(pointer_file.relative_to(root)))
    else:
        _fill(folder, parent, parent.folder)
        dvc.run(root, "add", "--quiet", str(PARENT))
    _describe(pointer_file, parent)
    for line in _remarks(parent):
        say(f"{PARENT}: {line}")
    count = sum(1 for file in folder.rglob("*") if file.is_file())
    now = parent.source if parent.source == parent.init else f"{parent.source} ({parent.init})"
    was = f", before: {before.source}" if before and before.source and before.source != parent.source else ""
    say(f"{PARENT}: {now}, {count} file{'' if count == 1 else 's'}{was}; commit {PARENT}.dvc with your code")
    return True


def bring(
    workspace: Workspace, changed: Mapping[str, object], values: Mapping[str, Any], say: Callable[[str], None]
) -> bool:
    """:func:`find` and :func:`place` for the workspace's own tree; True if anything was changed.

    Raises:
        InputProblem, RegistryError, dvc.DvcError: as they do.
    """
    init = validate(values, STAGE, PretrainParameters).init
    parent = find(workspace, init, say, with_tokenizer=takes_tokenizer(values))
    refuse_to_lose(workspace.root, changed, parent)
    placed = place(workspace.root, parent, say)
    forget(workspace.home, parent)
    return placed


def takes_tokenizer(values: Mapping[str, Any]) -> bool:
    """Whether the content of ``params.yaml`` says that the parent's tokenizer is taken."""
    section = values.get("tokenize")
    return isinstance(section, Mapping) and section.get("tokenizer") == "parent"


def forget(home: Path, parent: Parent) -> None:
    """Remove what was downloaded and converted for a parent that lies in the tree now."""
    if parent.found is not None:
        sources.forget(home, parent.found)


def _registered(workspace: Workspace, init: str) -> Parent:
    from registry.db.database import open as open_registry
    from registry.integrity.history import resolve
    from registry.integrity.verification import verify

    with open_registry(workspace.registry_url) as registry, registry.read() as session:
        version = resolve(workspace, session, init.removeprefix(REGISTRY))
        version_name = str(version)
        here = Parent(init, version_name, version.artifact.digest)
    if is_placed(workspace.root, here):
        return here  # verified when it was brought
    try:
        verified = verify(workspace, version_name)  # by its number: an alias may move meanwhile
    except StemmaError as error:
        error.add_note(f"pretrain.init: {init} is not gone on from; nothing was changed")
        raise
    files = verified.files
    names = sorted(file.relative_to(files).as_posix() for file in files.rglob("*") if file.is_file())
    return Parent(init, verified.version, verified.digest, files, tuple(names))


def _still(root: Path, kept: Pointer) -> bool:
    """Whether what was brought is what its name stands for now: a revision of elsewhere stays, a folder is hashed."""
    if not sources.is_here(root, kept.init or ""):
        return True
    revision = sources.revision_here(root, kept.init or "")
    return revision is not None and kept.source == f"{kept.init}@{revision}"


def _remarks(parent: Parent) -> list[str]:
    """What a user should know of a model from outside."""
    found = parent.found
    if found is None:
        return []
    warnings = inspection.warnings(found.folder, found.license)
    return [*found.notes, *(line for line in warnings if found.license or "no licence" not in line)]


def _has_files(folder: Path) -> bool:
    return any(file.is_file() for file in folder.rglob("*"))


def _gone(before: Pointer | None) -> str:
    return before.source if before and before.source else "what it held"


def _fill(folder: Path, parent: Parent, source: Path) -> None:
    """Copy the files of ``source`` beside ``folder`` and give them its name, once they are whole."""
    from registry.errors import InvalidBytes
    from registry.store.manifests import digest_of

    if folder.is_dir() and digest_of(folder) == parent.digest:
        return
    staging = folder.with_name(f"{folder.name}.partial")
    shutil.rmtree(staging, ignore_errors=True)
    for name in parent.names:
        (staging / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source / name, staging / name)
    if (found := digest_of(staging)) != parent.digest:
        shutil.rmtree(staging)
        raise InvalidBytes(f"{source} changed while it was copied (digest {found}, not {parent.digest})")
    shutil.rmtree(folder, ignore_errors=True)
    os.rename(staging, folder)


def _describe(pointer_file: Path, parent: Parent) -> None:
    """Write what the bytes stand for into ``models/parent.dvc``, whole or not at all."""
    yaml = YAML()
    body = yaml.load(pointer_file.read_bytes())
    body["meta"] = {"init": parent.init, "source": parent.source, "digest": parent.digest}
    if parent.found is not None and parent.found.license:
        body["meta"]["license"] = parent.found.license
    with files.replacing(pointer_file) as file:
        yaml.dump(body, file)
