"""Files that a recipe fetches: checked by digest, written whole or not at all, never over another file."""

from __future__ import annotations

import hashlib
import zipfile

import pytest
from pydantic import ValidationError

from core import package_index
from core.errors import InputProblem
from flows.pipeline.downloads import Download, bring


@pytest.fixture
def index(monkeypatch):
    """A package index that gives one wheel, and counts how often."""
    given = []

    def download(package, kind, folder):
        given.append(str(package))
        path = folder / "rows-1-py3-none-any.whl"
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("rows/rows.json", "[]")
        return path

    monkeypatch.setattr(package_index, "download", download)
    return given


def wanted(**changes):
    digest = hashlib.sha256(b"[]").hexdigest()
    fields = {"source": "pypi:rows==1", "member": "rows/rows.json", "into": "data/raw/rows.json"}
    return Download(**{**fields, "sha256": digest, "license": "MIT", **changes})


def test_a_file_is_fetched_once_and_its_licence_said(tmp_path, index):
    said: list[str] = []
    for _ in range(2):
        bring(tmp_path, [wanted()], said.append)
    assert (tmp_path / "data/raw/rows.json").read_text() == "[]" and index == ["pypi:rows==1"]
    assert said == ["data/raw/rows.json: 0.0 MB, fetched from pypi:rows==1, licence MIT"]


def test_another_file_of_the_name_is_not_written_over(tmp_path, index):
    (tmp_path / "data/raw").mkdir(parents=True)
    (tmp_path / "data/raw/rows.json").write_text("mine")
    with pytest.raises(InputProblem, match="another one is there; move it away"):
        bring(tmp_path, [wanted()], print)
    assert (tmp_path / "data/raw/rows.json").read_text() == "mine" and index == []


def test_a_file_with_another_digest_is_refused_and_nothing_written(tmp_path, index):
    with pytest.raises(InputProblem, match="its digest differs"):
        bring(tmp_path, [wanted(sha256="0" * 64)], print)
    assert list((tmp_path / "data/raw").iterdir()) == []


@pytest.mark.parametrize("into", ["data/raw", "/etc/rows.json", "data/raw/../keys/x.pem", "models/x"])
def test_files_go_below_the_raw_data_and_nowhere_else(into):
    with pytest.raises(ValidationError, match="is not below data/raw"):
        wanted(into=into)
