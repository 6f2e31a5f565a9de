"""What takes long to make and is only read or copied: made by one of pytest-xdist's processes, for all of them."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from core import locks


def made_once(factory: pytest.TempPathFactory, name: str, make: Callable[[Path], object]) -> Path:
    """The folder ``name`` that ``make`` has filled, in this test run; not to be changed."""
    base = factory.getbasetemp()
    folder = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "made-once" / name
    whole = folder.with_suffix(".whole")
    with locks.holding(folder.with_suffix(".lock")):
        if not whole.exists():
            shutil.rmtree(folder, ignore_errors=True)  # what one that failed left
            folder.mkdir(parents=True)
            make(folder)
            whole.touch()
    return folder
