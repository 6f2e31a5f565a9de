"""Signatures: who is believed, what they cover besides the bytes, and that other tools can check them."""

from __future__ import annotations

import json
import shutil
import stat
import subprocess
import sys

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from sqlalchemy import text

from core.errors import KeyProblem
from core.keys import HISTORY, rotate, trusted_keys
from deploy.gateway.local_generation import generate
from registry.db.database import open as open_registry
from registry.errors import InvalidBytes, NotCheckable, UnknownReference
from registry.integrity.audit import audit
from registry.integrity.signing import lineage_in
from registry.integrity.verification import verify, verify_folder, write_bundle
from registry.lineage.sync import sync
from registry.promotion.promote import promote

pytestmark = pytest.mark.parametrize("registry_url", ["sqlite"], indirect=True)


@pytest.fixture
def champion(project):
    sync(project.workspace, run="first")
    promote(project.workspace, "base", "champion", "the first", "Ada")
    return project


def pem(path) -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    path.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )


def test_the_statement_names_the_parents_and_other_tools_verify_it(champion, tmp_path):
    workspace = champion.workspace
    found = verify(workspace, "base@champion")
    assert [(parent["name"], parent["role"]) for parent in found.parents] == [("data/corpus", "corpus")]
    bundle = tmp_path / "base.sig"
    write_bundle(workspace, "base:1", bundle)
    stated = lineage_in(bundle.read_text())
    assert (stated["version"], stated["digest"], stated["stage"]) == ("base:1", found.digest, "pretrain")
    command = [sys.executable, "-m", "model_signing", "verify", "key", str(found.files), "--signature", str(bundle)]
    public = workspace.home / "keys" / "signing.pub"
    done = subprocess.run([*command, "--public_key", str(public)], capture_output=True, text=True)
    assert done.returncode == 0 and "succeeded" in (done.stdout + done.stderr).lower(), done.stderr
    assert stat.S_IMODE((workspace.home / "keys" / "signing.pem").stat().st_mode) == 0o600


def test_a_lineage_edited_in_the_registry_is_not_what_was_signed(champion):
    with open_registry(champion.workspace.registry_url) as opened, opened.engine.begin() as connection:
        connection.execute(text("UPDATE artifacts SET digest = 'cafe.dir' WHERE name = 'data/corpus'"))
    with pytest.raises(InvalidBytes, match=r"parent data/corpus \(corpus\): registry cafe\.dir, signed"):
        verify(champion.workspace, "base@champion")


def test_only_trusted_keys_are_believed(champion, tmp_path, monkeypatch):
    """Whoever can write the database could have put a key of their own there, with a signature by it."""
    workspace = champion.workspace
    own = workspace.home / "keys"
    shutil.move(own, tmp_path / "ada")  # this is now the machine of somebody else
    assert trusted_keys(workspace) == {}
    with pytest.raises(KeyProblem, match=r"which is not trusted here \(trusted: none\).*keys/trusted"):
        verify(workspace, "base@champion")
    with pytest.raises(KeyProblem, match="not trusted"):
        list(generate(workspace, "base@champion", "one", max_tokens=2, warn=pytest.fail))
    assert not own.exists()  # looking makes no key

    monkeypatch.setenv("STEMMA_TRUSTED_KEYS", str(tmp_path / "nowhere"))
    with pytest.raises(KeyProblem, match="does not exist"):
        verify(workspace, "base@champion")
    monkeypatch.setenv("STEMMA_TRUSTED_KEYS", str(tmp_path / "ada" / "signing.pub"))
    assert verify(workspace, "base@champion").keys
    monkeypatch.delenv("STEMMA_TRUSTED_KEYS")
    (own / "trusted").mkdir(parents=True)
    shutil.copy(tmp_path / "ada" / "signing.pub", own / "trusted" / "ada.pem")
    assert "".join(generate(workspace, "base@champion", "one", max_tokens=2, warn=pytest.fail)).split() == [
        "two",
        "three",
    ]
    (own / "trusted" / "ada.pem").write_text("no key")
    with pytest.raises(KeyProblem, match=r"ada\.pem is not a public key"):
        verify(workspace, "base@champion")


def test_what_was_never_signed_is_called_so_and_what_lost_its_signature_is_refused(project):
    workspace = project.workspace
    sync(workspace, run="first")
    said: list[str] = []
    answer = "".join(generate(workspace, "base:1", "one", max_tokens=2, warn=said.append))
    assert answer.split() == ["two", "three"] and "base:1 is unsigned" in said[0]
    promote(workspace, "base", "champion", "the first", "Ada")
    list(generate(workspace, "base:1", "one", max_tokens=2, warn=pytest.fail))
    with open_registry(workspace.registry_url) as registry, registry.write() as session:
        session.execute(text("DELETE FROM signatures"))
    for reference in ("base:1", "base@champion", "base"):
        with pytest.raises(InvalidBytes, match="base:1 was promoted, which signs a version, and its signature is gone"):
            generate(workspace, reference, "one", max_tokens=2, warn=pytest.fail)


def test_a_key_of_the_users_own(project, tmp_path, monkeypatch):
    sync(project.workspace, run="first")
    mine = tmp_path / "mine.pem"
    monkeypatch.setenv("STEMMA_SIGNING_KEY", str(mine))
    with pytest.raises(KeyProblem, match="STEMMA_SIGNING_KEY names"):
        promote(project.workspace, "base", "champion", "the first", "Ada")
    mine.write_text("not a key")
    mine.chmod(0o600)
    with pytest.raises(KeyProblem, match="cannot be used for signing"):
        promote(project.workspace, "base", "champion", "the first", "Ada")
    pem(mine)
    outcome = promote(project.workspace, "base", "champion", "the first", "Ada")
    assert verify(project.workspace, "base@champion").keys == [outcome.key_id]


def test_a_copy_anywhere(champion, tmp_path):
    workspace = champion.workspace
    copy = tmp_path / "copy"
    shutil.copytree(verify(workspace, "base").files, copy)
    (found,) = verify_folder(workspace, copy)
    assert found.version == "base:1" and json.loads(json.dumps(found.as_dict()))["files"] == str(copy)
    (copy / "extra.txt").write_text("more")
    with pytest.raises(InvalidBytes, match="is not a registered version"):
        verify_folder(workspace, copy)
    with pytest.raises(UnknownReference, match="is not a folder"):
        verify_folder(workspace, tmp_path / "nowhere")


def test_a_signature_of_sigstore_offline_is_neither_confirmed_nor_refuted(champion, monkeypatch):
    """Only the row says so: whoever wrote it, nothing ends in a traceback."""
    workspace = champion.workspace
    with open_registry(workspace.registry_url) as opened, opened.engine.begin() as connection:
        connection.execute(
            text("UPDATE signatures SET method = 'model-signing/sigstore', public_key = 'ci@example.org by https://i'")
        )
    with pytest.raises(KeyProblem, match=r"was signed as ci@example\.org by https://i, and this workspace trusts no"):
        verify(workspace, "base@champion")
    champion.set("promotion:", "signing: {method: key, identity: ci@example.org, issuer: 'https://i'}\npromotion:")
    monkeypatch.setenv("HTTPS_PROXY", "http://127.0.0.1:9")  # offline, wherever this runs
    with pytest.raises(NotCheckable, match="cannot be checked offline"):
        verify(workspace, "base@champion")
    report = audit(workspace)
    (found,) = [finding for finding in report.findings if finding.part == "signature"]
    assert (found.state, found.subject[:6]) == ("unchecked", "base:1") and "cannot be checked offline" in found.detail


def test_a_new_key_leaves_what_the_old_one_signed_valid(champion):
    workspace = champion.workspace
    before = verify(workspace, "base@champion").keys
    (workspace.home / "keys" / "signing.pem").unlink()
    with pytest.raises(KeyProblem, match="stemma keys rotate"):
        promote(workspace, "base", "candidate", "with a lost key", "Ada")
    public = (workspace.home / "keys" / "signing.pub").rename(champion.root / "kept.pub")
    champion.git("update-ref", "-d", HISTORY)  # only the registry knows of it now
    with pytest.raises(KeyProblem, match="is missing, and the registry holds promotions that it signed"):
        promote(workspace, "base", "candidate", "with a lost key", "Ada")
    assert not (workspace.home / "keys" / "signing.pem").exists()
    public.rename(workspace.home / "keys" / "signing.pub")
    rotate(workspace)
    assert verify(workspace, "base@champion").keys == before
    outcome = promote(workspace, "base", "candidate", "by the new key", "Ada")
    assert outcome.action == "promote" and outcome.key_id not in before
    assert audit(workspace).sound
