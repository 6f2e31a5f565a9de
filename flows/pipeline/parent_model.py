"""``models/parent``: the weights that ``pretrain.init`` names, where DVC, the fingerprint and the lineage see them.

A version of the registry is verified and laid there byte for byte, so its digest links the new model to it. A local
folder is copied and a hub id downloaded, as far as they are weights (safetensors), configuration and tokenizer. What
the bytes stand for is written under ``meta`` of ``models/parent.dvc`` (:mod:`components.pretrain.parent`).
"""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML

from components.harness.parameters import validate
from components.pretrain.parameters import REGISTRY, PretrainParameters
from components.pretrain.parent import FOLDER, SCRATCH, Pointer, read_pointer, unusable
from core import dvc, files
from core.errors import InputProblem, StemmaError
from core.workspace import Workspace

PARENT = Path(FOLDER)
STAGE = "pretrain"  # the one that reads it
#: What is taken of a folder or of the hub.
FILES = ("*.safetensors", "*.safetensors.index.json", "config.json", "generation_config.json", "tokenizer*.json",
         "tokenizer.model", "sentencepiece*.model", "spiece.model", "vocab.json", "vocab.txt", "merges.txt",
         "special_tokens_map.json", "added_tokens.json", "chat_template.jinja", "chat_template.json")  # fmt: skip
_SECOND_COPIES = ("consolidated*", "*/*")  # the same weights once more, for other engines
_HUB_ID = re.compile(r"(?P<id>[\w.-]+(?:/[\w.-]+)?)(?:@(?P<revision>[\w./-]+))?")


@dataclass(frozen=True)
class Parent:
    """A model to go on from, or none: ``scratch``.

    Attributes:
        init: what ``pretrain.init`` says.
        source: what that is now: ``model:version``, a folder, or ``owner/name@commit`` of the hub.
        digest: DVC's, of its files.
        folder: where they lie; ``None`` where ``models/parent``, or DVC's cache, has them already.
        names: those of the folder that are taken.
    """

    init: str
    source: str | None = None
    digest: str | None = None
    folder: Path | None = None
    names: tuple[str, ...] = ()

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
    if (folder := _folder(workspace.root, init)).exists():
        problem = unusable(folder)
        return [problem] if problem else []
    return [] if _HUB_ID.fullmatch(init) else [f"{init} is no folder here, and no hub id (owner/name)"]


def find(workspace: Workspace, init: str) -> Parent:
    """What ``init`` stands for now, its bytes verified or downloaded. The tree stays as it is.

    Raises:
        InputProblem: there is nothing such, or it holds no weights.
        RegistryError: a registered version's bytes or signatures are not what was recorded, or are not to be had.
    """
    kept = read_pointer(workspace.root)
    if init == SCRATCH:
        return Parent(init)
    if found := problems(workspace, init):
        raise InputProblem([f"params.yaml: pretrain.init: {problem}" for problem in found])
    if init.startswith(REGISTRY):
        return _registered(workspace, init)
    if (folder := _folder(workspace.root, init)).exists():
        return _taken_from(folder, init, init)
    if kept is not None and kept.init == init and kept.kept == kept.digest:
        return Parent(init, kept.source, kept.digest)
    return _downloaded(init)


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
    parent = find(workspace, validate(values, STAGE, PretrainParameters).init)
    refuse_to_lose(workspace.root, changed, parent)
    return place(workspace.root, parent, say)


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
    return Parent(init, verified.version, verified.digest, verified.files, _names(verified.files, ("**/*",)))


def _taken_from(folder: Path, init: str, source: str) -> Parent:
    from registry.store.manifests import digest_of

    names = _names(folder, FILES)
    return Parent(init, source, digest_of(folder, names), folder, names)


def _downloaded(init: str) -> Parent:
    """From the Hugging Face hub, or the machine's cache of it, where the environment says to stay offline."""
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

    name, _, revision = init.partition("@")
    try:
        folder = Path(
            snapshot_download(
                name,
                revision=revision or None,
                allow_patterns=list(FILES),
                ignore_patterns=list(_SECOND_COPIES),
            )
        )
    except (HfHubHTTPError, HFValidationError, LocalEntryNotFoundError, OSError) as error:
        reason = next(iter(str(error).strip().splitlines()), type(error).__name__)
        raise InputProblem(
            f"params.yaml: pretrain.init: {init} is no folder here, and cannot be had from the hub: {reason}"
        ) from error
    if problem := unusable(folder):
        raise InputProblem(f"params.yaml: pretrain.init: {init} of the hub: {problem}")
    return _taken_from(folder, init, f"{name}@{folder.name}")


def _folder(root: Path, init: str) -> Path:
    return root / Path(init).expanduser()


def _names(folder: Path, patterns: tuple[str, ...]) -> tuple[str, ...]:
    found = {file for pattern in patterns for file in folder.glob(pattern) if file.is_file()}
    return tuple(sorted(file.relative_to(folder).as_posix() for file in found))


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
    with files.replacing(pointer_file) as file:
        yaml.dump(body, file)
