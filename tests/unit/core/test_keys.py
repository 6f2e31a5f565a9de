"""The signing key: closed to others, never replaced silently, and what an old one signed stays valid."""

import json
import shutil
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from core import files, keys, layout
from core.errors import KeyProblem
from core.workspace import Workspace

ROOT = Path(__file__).resolve().parents[3]
ROTATE = """
import json, sys
from pathlib import Path
from core import keys
from core.workspace import Workspace
workspace = Workspace(Path(sys.argv[1]), Path(sys.argv[2]))
for number in range(10):
    before, now = keys.rotate(workspace)
    print(json.dumps([before, now, vars(keys.sign_text(workspace, f"text {number}"))]))
"""


@pytest.fixture
def workspace(tmp_path, monkeypatch):
    for name in ("STEMMA_SIGNING_KEY", "STEMMA_TRUSTED_KEYS", "STEMMA_HOME"):
        monkeypatch.delenv(name, raising=False)
    subprocess.run(["git", "init", "-q", tmp_path], check=True)
    return Workspace(tmp_path, tmp_path / ".stemma")


def mode(path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_a_text_is_signed_and_checked(workspace):
    signed = keys.sign_text(workspace, "what I say")
    trusted = keys.trusted_keys(workspace)
    assert keys.fault(trusted, signed) is None
    assert "does not hold" in keys.fault(trusted, keys.Signed("what you say", signed.key_id, signed.signature))
    assert "does not hold" in keys.fault(trusted, keys.Signed(signed.body, signed.key_id, "bm90aGluZw=="))
    assert "not trusted here (trusted: none)" in keys.fault({}, signed)
    assert (mode(layout.keys(workspace.home)), mode(layout.signing_key(workspace.home))) == (0o700, 0o600)


def test_a_key_that_another_process_makes_at_the_same_time_is_not_taken_for_a_lost_one(workspace, monkeypatch):
    traces = keys._traces

    def after_another(of):
        monkeypatch.setattr(keys, "_traces", traces)
        keys.signing_key(of)
        return traces(of)

    monkeypatch.setattr(keys, "_traces", after_another)
    path, public = keys.signing_key(workspace)
    assert keys.public_key_of(path) == public


@pytest.mark.parametrize(
    ("path", "bits", "told"),
    [
        ("signing.pem", 0o666, "chmod 600 "),
        ("signing.pem", 0o640, "chmod 600 "),
        (".", 0o777, "chmod go-w "),
    ],
)
def test_a_key_that_others_can_read_or_replace_is_refused(workspace, path, bits, told):
    keys.signing_key(workspace)
    (layout.keys(workspace.home) / path).chmod(bits)
    for use in (keys.signing_key, keys.trusted_keys, lambda place: keys.sign_text(place, "text")):
        with pytest.raises(KeyProblem, match=told):
            use(workspace)


def test_a_trusted_key_that_others_can_replace_is_refused(workspace):
    keys.signing_key(workspace)
    folder = layout.trusted_keys(workspace.home)
    files.private_folder(folder)
    shutil.copy(layout.signing_public(workspace.home), folder / "friend.pem")
    layout.keys(workspace.home).chmod(0o755)
    (folder / "friend.pem").chmod(0o666)
    with pytest.raises(KeyProblem, match=r"friend\.pem can be written by other accounts .*chmod go-w"):
        keys.trusted_keys(workspace)


def test_a_lost_key_is_not_replaced_silently(workspace):
    signed = keys.sign_text(workspace, "before")
    layout.signing_key(workspace.home).unlink()
    with pytest.raises(KeyProblem, match=r"is missing, and its public key .* is there.*stemma keys rotate"):
        keys.signing_key(workspace)
    assert not layout.signing_key(workspace.home).exists()
    before, now = keys.rotate(workspace)
    assert before == signed.key_id and now == keys.sign_text(workspace, "after").key_id != before
    assert keys.fault(keys.trusted_keys(workspace), signed) is None
    # Nor where its folder is gone too, and only git knows that something was signed.
    shutil.rmtree(layout.keys(workspace.home))
    tree = subprocess.run(["git", "mktree"], cwd=workspace.root, input="", capture_output=True, text=True, check=True)
    subprocess.run(["git", "update-ref", keys.HISTORY, tree.stdout.strip()], cwd=workspace.root, check=True)
    with pytest.raises(KeyProblem, match="the history in refs/stemma/promotions was signed by it"):
        keys.signing_key(workspace)
    assert keys.signing_key(Workspace(workspace.root, workspace.home / "reproductions" / "one"))  # a home of its own


def test_keys_that_are_replaced_by_several_processes_at_once_all_stay_trusted(workspace):
    first = keys.sign_text(workspace, "before")
    command = [sys.executable, "-c", ROTATE, str(workspace.root), str(workspace.home)]
    processes = [subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) for _ in range(3)]
    lines = [json.loads(line) for process in processes for line in process.communicate()[0].splitlines()]
    assert [process.returncode for process in processes] == [0, 0, 0] and len(lines) == 30
    replaced, made = ({line[index] for line in lines} for index in (0, 1))
    last = keys.sign_text(workspace, "after")
    assert replaced == {first.key_id, *made} - {last.key_id} and len(made) == 30
    trusted = keys.trusted_keys(workspace)
    signed = [first, last, *(keys.Signed(**line[2]) for line in lines)]
    assert [fault for each in signed if (fault := keys.fault(trusted, each))] == []
    beside = layout.signing_public(workspace.home)
    assert keys.key_id(beside.read_text()) == last.key_id


def test_the_key_of_a_variable_is_not_this_homes_to_replace(workspace, tmp_path, monkeypatch):
    path, _ = keys.signing_key(workspace)
    mine = shutil.copy(path, tmp_path / "mine.pem")
    mine.chmod(0o440)  # as a secret is mounted into a container
    monkeypatch.setenv("STEMMA_SIGNING_KEY", str(mine))
    assert keys.sign_text(workspace, "text").key_id
    with pytest.raises(KeyProblem, match="STEMMA_SIGNING_KEY names the signing key"):
        keys.rotate(workspace)
