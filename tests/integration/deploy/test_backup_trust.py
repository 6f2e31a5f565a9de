"""Back-ups that are not what was made: damaged, of others, with keys; and those that only some can read."""

from __future__ import annotations

import hashlib
import json
import time
from pathlib import Path

import pyrage
import pytest

from deploy import backup
from tests.integration.deploy.lived import REASON, elsewhere, holder


def test_a_damaged_backup_is_refused_and_every_damage_is_named(lived, tmp_path):
    done = backup.create(lived.workspace, str(tmp_path / "backups"))
    folder = Path(done.place)
    (folder / "databases" / "registry.sqlite").write_bytes(
        b"x" * (folder / "databases" / "registry.sqlite").stat().st_size
    )
    (folder / "repository.bundle").unlink()
    new = elsewhere(lived, tmp_path / "new")
    with pytest.raises(backup.BackupFailed) as refused:
        backup.restore(new, str(folder), signed_by=done.signed_by)
    assert "databases/registry.sqlite differs from what was backed up" in str(refused.value)
    assert "repository.bundle is missing" in str(refused.value)
    assert not (new.home / "registry.db").exists() and not (new.home / "mlflow.db").exists()


def test_a_backup_of_an_attacker_s_is_refused_whatever_it_says(lived, tmp_path):
    """Signed by a key that nobody here knows; with his key among ours; with paths elsewhere; without a signature."""
    done = backup.create(lived.workspace, str(tmp_path / "backups"), keys=True)
    folder = Path(done.place)
    new = elsewhere(lived, tmp_path / "new")

    def refused(words: str, **options) -> None:
        with pytest.raises((backup.BackupRefused, backup.BackupFailed), match=words):
            backup.restore(new, str(folder), **options)
        assert not (new.home / "registry.db").exists() and not (new.home / "keys" / "trusted").exists()

    refused("signed by key .*, which is not trusted here")
    refused("and not by", signed_by="0" * 64)
    refused("at least 16 signs", signed_by=done.signed_by[:8])
    manifest, own = folder / "manifest.json", json.loads((folder / "manifest.json").read_text())
    key = (lived.workspace.home / "keys" / "signing.pub").read_bytes()
    (folder / "keys" / "trusted").mkdir(exist_ok=True)
    (folder / "keys" / "trusted" / "friend.pem").write_bytes(key)
    entry = {"bytes": len(key), "sha256": hashlib.sha256(key).hexdigest()}
    manifest.write_text(json.dumps({**own, "files": {**own["files"], "keys/trusted/friend.pem": entry}}))
    refused("does not hold", signed_by=done.signed_by)
    for name in ("../keys/trusted/friend.pem", str(new.home / "x"), "keys\\..\\x", "code/torch.py", "keys/../../x"):
        manifest.write_text(json.dumps({**own, "files": {**own["files"], name: entry}}))
        refused("nothing of it was used", unsigned=True)
    manifest.write_text(json.dumps({**own, "databases": {"registry": {"engine": "sqlite", "file": "../../r.db"}}}))
    refused("names the dump", unsigned=True)
    manifest.write_text(json.dumps(own, indent=1, sort_keys=True))
    (folder / "manifest.json.sig").unlink()
    refused("it is not signed", signed_by=done.signed_by)
    assert backup.restore(new, str(folder), unsigned=True)


def test_keys_come_back_only_when_asked_for_and_each_is_named(lived, tmp_path):
    friend = lived.workspace.home / "keys" / "trusted" / "friend.pem"
    friend.parent.mkdir(exist_ok=True, mode=0o700)
    friend.write_bytes((lived.workspace.home / "keys" / "signing.pub").read_bytes())
    done = backup.create(lived.workspace, str(tmp_path / "backups"), keys=True)
    new = elsewhere(lived, tmp_path / "new")
    lines = backup.restore(new, done.place, signed_by=done.signed_by).lines
    assert not (new.home / "keys" / "signing.pem").exists() and not (new.home / "keys" / "trusted").exists()
    assert f"trusted/friend.pem is trusted here, whatever it signs: {done.signed_by}" in "\n".join(lines)
    assert all("not restored (--keys does)" in line for line in lines if "trusted/friend.pem" in line)
    backup.restore(new, done.place, signed_by=done.signed_by, keys=True, force=True)
    assert (new.home / "keys" / "trusted" / "friend.pem").is_file()


def test_an_encrypted_backup_opens_for_its_recipients_alone(lived, tmp_path):
    """Nothing of the workspace can be read in it, its manifest is signed, and a second one links what is the same."""
    key, other = tmp_path / "key.txt", tmp_path / "other.txt"
    ours, theirs = pyrage.x25519.Identity.generate(), pyrage.x25519.Identity.generate()
    key.write_text(f"# public key: {ours.to_public()}\n{ours}\n")
    other.write_text(f"{theirs}\n")
    to = [str(ours.to_public())]
    with pytest.raises(backup.BackupRefused, match=r"2 problems; nothing was changed(?s:.*)'nobody'(?s:.*)'age1no'"):
        backup.create(lived.workspace, str(tmp_path / "backups"), encrypt_to=["nobody", *to, "age1no"])
    backup.create(lived.workspace, str(tmp_path / "backups"), encrypt_to=to)
    time.sleep(1.1)  # they are named by the second
    done = backup.create(lived.workspace, str(tmp_path / "backups"), encrypt_to=to)
    assert done.reused > 0
    written = [path for path in Path(done.place).rglob("*") if path.is_file()]
    assert {path.suffix for path in written} == {".age", ".json", ".sig"}
    assert all(path.read_bytes().startswith(b"age-encryption.org/v1") for path in written if path.suffix == ".age")
    assert not list((lived.workspace.home / "backup").glob("plain-*"))

    new = elsewhere(lived, tmp_path / "new")
    with pytest.raises(backup.BackupRefused, match=f"encrypted to {to[0]}; .*--identity FILE"):
        backup.restore(new, done.place, signed_by=done.signed_by)
    with pytest.raises(backup.BackupRefused, match="holds no private key"):
        backup.restore(new, done.place, signed_by=done.signed_by, identity=Path(done.place, "manifest.json"))
    with pytest.raises(backup.BackupFailed, match=r"registry\.sqlite cannot be decrypted: No matching keys"):
        backup.restore(new, done.place, signed_by=done.signed_by, identity=other)
    assert not (new.home / "registry.db").exists()
    backup.restore(new, done.place, signed_by=done.signed_by, identity=key)
    assert holder(new) == ("base:1", REASON)
