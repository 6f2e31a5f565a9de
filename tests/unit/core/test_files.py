"""Files appear whole or not at all, with the rights that the umask says."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from core import files

ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture
def umask():
    before = os.umask(0o027)
    yield 0o027
    os.umask(before)


def test_the_new_content_takes_the_place_of_the_old(tmp_path):
    path = tmp_path / "deep" / "state.json"
    files.write_json(path, {"b": 1, "a": 2})
    files.write_json(path, {"a": [3]})
    assert files.read_json(path, None) == {"a": [3]}
    assert [each.name for each in path.parent.iterdir()] == ["state.json"]
    assert files.read_json(tmp_path / "missing.json", {}) == {}


def test_a_failure_while_writing_leaves_the_old_content_and_nothing_else(tmp_path):
    path = tmp_path / "state.txt"
    files.write_text(path, "old")
    with pytest.raises(ZeroDivisionError), files.replacing(path, "w") as file:
        file.write("half")
        raise ZeroDivisionError
    assert path.read_text() == "old" and [each.name for each in tmp_path.iterdir()] == ["state.txt"]


def test_a_kill_while_writing_leaves_the_old_content(tmp_path):
    path = tmp_path / "state.txt"
    files.write_text(path, "old")
    script = (
        "import sys, time\nfrom pathlib import Path\nfrom core import files\n"
        "with files.replacing(Path(sys.argv[1]), 'w') as file:\n"
        "    file.write('half'); file.flush(); print('writing', flush=True); time.sleep(60)\n"
    )
    process = subprocess.Popen([sys.executable, "-c", script, str(path)], cwd=ROOT, stdout=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "writing\n"
    process.send_signal(signal.SIGKILL)
    process.wait()
    process.stdout.close()
    assert path.read_text() == "old"
    (partial,) = (each for each in tmp_path.iterdir() if each != path)
    assert partial.name.startswith(".") and partial.name.endswith(".partial")


def test_rights_follow_the_umask_unless_the_file_is_private(tmp_path, umask):
    files.write_bytes(tmp_path / "open", b"x")
    files.write_bytes(tmp_path / "secret", b"x", private=True)
    assert (tmp_path / "open").stat().st_mode & 0o777 == 0o640
    assert (tmp_path / "secret").stat().st_mode & 0o777 == 0o600


def test_a_link_is_replaced_and_what_it_leads_to_stays(tmp_path):
    (tmp_path / "cached").write_text("in DVC's cache")
    (tmp_path / "link").symlink_to(tmp_path / "cached")
    files.write_text(tmp_path / "link", "new")
    assert (tmp_path / "cached").read_text() == "in DVC's cache"
    assert not (tmp_path / "link").is_symlink() and (tmp_path / "link").read_text() == "new"


def test_text_is_written_as_it_is(tmp_path):
    with files.replacing(tmp_path / "text", "w") as file:
        file.write("ä\r\nb\n")
    assert (tmp_path / "text").read_bytes() == "ä\r\nb\n".encode()
