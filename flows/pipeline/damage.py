"""Files that DVC's cache gave and that are not what was recorded: found before a stage works on them.

DVC trusts an object of its cache by its name, so a damaged one is checked out, trained on, and only then found out.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from core import dvc, dvc_lock
from core.dvc_lock import Tracked
from core.errors import DvcError, StemmaError
from flows.pipeline.graph import Graph
from registry.errors import InvalidBytes
from registry.store.manifests import md5_of, read_manifest


class Damaged(StemmaError):
    """An input of a stage is damaged in DVC's cache, and there is no other copy."""


@dataclass(frozen=True)
class Damage:
    """A file whose content is not what its object's name says.

    Attributes:
        item: what DVC tracks: the file, or the folder that it lies in.
        file: in the tree; ``None`` where it is the folder's list of files that is damaged.
        digest: as recorded; the name of the object.
    """

    item: Tracked
    file: Path | None
    digest: str

    @property
    def name(self) -> str:
        return str(self.file or self.item.path)


def find(root: Path, items: Iterable[Tracked]) -> list[Damage]:
    """Damaged files among those of tracked files and folders that were checked out from the cache; reads them whole."""
    cache = dvc.cache_folder(root)
    found = []
    for item in items:
        if not item.digest.endswith(".dir"):
            files = {item.path: item.digest}
        else:
            listing = dvc.object_path(cache, item.digest)
            if not listing.is_file():
                continue
            try:
                members = read_manifest(cache, item.digest)
            except InvalidBytes:
                found.append(Damage(item, None, item.digest))
                continue
            files = {f"{item.path}/{name}": md5 for name, md5 in members.items()}
        for name, digest in files.items():
            if (root / name).is_file() and md5_of(root / name) != digest:
                found.append(Damage(item, Path(name), digest))
    return found


def outputs_of(root: Path, stage: str) -> list[Tracked]:
    """What a stage made, as ``dvc.lock`` has it."""
    return [item for item in _tracked(root) if item.stage == stage]


def take_away(root: Path, damages: Iterable[Damage]) -> None:
    """Remove damaged objects and the files that were made of them, so that DVC makes or fetches them anew."""
    cache = dvc.cache_folder(root)
    for damage in damages:
        dvc.object_path(cache, damage.digest).unlink(missing_ok=True)
        if damage.file is not None:
            (root / damage.file).unlink(missing_ok=True)


def mend_inputs(
    root: Path, graph: Graph, stages: list[str], changed: Iterable[str], say: Callable[[str], None]
) -> bool:
    """Verify what the stages that will run read and none of them makes; True if anything was taken away or fetched.

    A damaged file is fetched from the remote. Where that has none, an output is taken away, for its stage to make it
    again, if that stage is among the ``stages`` of the run.

    Raises:
        Damaged: raw data, or an output of a stage that the run leaves out; nothing was taken away.
    """
    will_run = graph.descendants(set(changed) & set(stages)) & set(stages)
    lock = root / "dvc.lock"
    locked = dvc_lock.stages_of(lock.read_bytes(), "dvc.lock") if lock.is_file() else {}
    read = {path for name in will_run if name in locked for path in locked[name].deps}
    items = [
        item
        for item in _tracked(root)
        if item.stage not in will_run and any(path == item.path or path.startswith(f"{item.path}/") for path in read)
    ]
    damages = find(root, items)
    if not damages:
        return False
    lost = [each for each in damages if not _fetch(root, each)]
    if hopeless := [each for each in lost if each.item.stage not in stages]:
        raise Damaged(
            "\n".join(
                f"{each.name}: DVC's cache holds other bytes than were recorded (md5 {each.digest}), and no remote has "
                "them; put the file back from your own copy and run `dvc add`, or run the stage that makes it"
                for each in hopeless
            )
        )
    take_away(root, lost)
    for each in damages:
        how = "is made again" if each in lost else "was fetched from the remote"
        say(f"{each.name}: damaged in DVC's cache; it {how}")
    return True


def _fetch(root: Path, damage: Damage) -> bool:
    """Put the object and the file back from a remote; False where none has it, and all is as it was."""
    object_path = dvc.object_path(dvc.cache_folder(root), damage.digest)
    aside = object_path.with_name(f"{object_path.name}.damaged")
    with contextlib.suppress(DvcError):
        if not dvc.remotes(root):
            return False
        object_path.rename(aside)
        dvc.run(root, "fetch", damage.item.target)
        if object_path.is_file() and md5_of(object_path) == damage.digest.removesuffix(".dir"):
            aside.unlink()
            if damage.file is not None:  # DVC takes it for what it was checked out as
                (root / damage.file).unlink(missing_ok=True)
            dvc.run(root, "checkout", "--quiet", "--force", damage.item.target)
            return True
    if aside.is_file():
        aside.rename(object_path)
    return False


def _tracked(root: Path) -> list[Tracked]:
    found = []
    for path in [root / "dvc.lock", *sorted(root.glob("data/*.dvc")), *sorted(root.glob("models/*.dvc"))]:
        if path.is_file():
            for item in dvc_lock.tracked_in(path.read_bytes(), path.name):
                if path.name == "dvc.lock":
                    found.append(item)
                else:  # its paths begin where it lies
                    pointer = path.relative_to(root)
                    where = (pointer.parent / item.path).as_posix()
                    found.append(Tracked(where, item.digest, None, item.size, pointer.as_posix()))
    return found
