"""A file in the working directory that is named like a library is never run in the library's place."""

from __future__ import annotations

import importlib.util
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from core import python
from core.environment import child_environment

ROOT = Path(__file__).parents[3]
FLOORS = ("core", "components", "registry", "deploy", "flows", "cli")


def test_a_library_s_namesake_in_the_working_directory_does_not_run(tmp_path: Path) -> None:
    for name in ("dvc", "colorama", "filelock", "json"):
        (tmp_path / f"{name}.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')\n")
    environment = child_environment({"DVC_NO_ANALYTICS": "1"})
    environment["PYTHONPATH"] = str(ROOT)
    done = subprocess.run(
        python.command("core.guarded_dvc", "--version"), cwd=tmp_path, env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    # What a program starts by itself, without the option, inherits it.
    subprocess.run([sys.executable, "-c", "import json"], cwd=tmp_path, env=environment, check=True)
    assert not (tmp_path / "ran").exists()


def test_entries_that_depend_on_the_working_directory_are_settled(monkeypatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    environment = {"PYTHONPATH": os.pathsep.join(["", ".", "/lib", ""])}
    python.isolate(environment)
    assert environment["PYTHONPATH"] == os.pathsep.join([str(tmp_path), "/lib"])
    assert environment["PYTHONSAFEPATH"] == "1"
    assert python.with_code_of(Path("/tree"), environment).split(os.pathsep) == ["/tree", str(tmp_path), "/lib"]
    assert python.with_code_of(Path("/tree"), {}) == "/tree"


def test_a_block_isolates_what_a_library_starts_and_leaves_nothing(monkeypatch) -> None:
    monkeypatch.delenv("PYTHONSAFEPATH", raising=False)
    monkeypatch.setenv("PYTHONPATH", "/lib")
    with python.isolated_children():
        assert os.environ["PYTHONSAFEPATH"] == "1"
    assert "PYTHONSAFEPATH" not in os.environ and os.environ["PYTHONPATH"] == "/lib"


def test_a_hidden_library_looks_absent_and_an_imported_one_stays(monkeypatch) -> None:
    monkeypatch.delitem(sys.modules, "this", raising=False)
    python.hide("this", "os")
    try:
        assert importlib.util.find_spec("this") is None and sys.modules["os"] is os
    finally:
        del sys.modules["this"]
    with python.hidden("this"), python.hidden("os"), pytest.raises(ImportError):
        assert importlib.import_module("os") is os
        importlib.import_module("this")
    assert importlib.util.find_spec("this") is not None


def test_arrow_does_without_pandas() -> None:
    program = (
        "import sys; from core import python; python.spare_pandas(); import pyarrow as pa\n"
        "assert pa.array(['a', None]).to_pylist() == ['a', None]\n"
        "assert 'pandas' not in sys.modules; import pandas"
    )
    subprocess.run([sys.executable, "-c", program], check=True)


def test_python_is_started_in_one_way_everywhere() -> None:
    """Other starts would put the working directory back; ``-I`` of the harvester is stricter still."""
    starts = re.compile(r"[(\[]sys\.executable,|['\"]python3?['\"],\s*['\"]-")
    found = {
        file.relative_to(ROOT).as_posix(): line.strip()
        for floor in FLOORS
        for file in (ROOT / floor).rglob("*.py")
        for line in file.read_text().splitlines()
        if starts.search(line) and "-I" not in line
    }
    assert list(found) == ["core/python.py"], found
    shipped = [*(ROOT / "deploy").rglob("*.yaml"), *(ROOT / "deploy").rglob("*.Dockerfile")]
    unsafe = [
        f"{file.name}: {line.strip()}"
        for file in shipped
        for line in file.read_text().splitlines()
        if not line.lstrip().startswith("#") and re.search(r"[\[ ]\"?python\"?, *\"?-[mc]", line)
    ]
    assert unsafe == []
