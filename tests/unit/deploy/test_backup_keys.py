"""What may be among the keys of a back-up."""

import pytest

from deploy.backup.manifest import BackupFailed, Manifest
from deploy.backup.restore import _keys_in


def test_the_salt_of_placeholders_is_restored_with_the_keys_and_other_files_are_not(tmp_path):
    manifest = Manifest(0.0, "1")
    manifest.files["keys/placeholders.salt"] = None
    assert _keys_in(tmp_path, manifest) == {
        "placeholders.salt": "placeholders.salt keys the hashes that stand for personal data in corpora"
    }
    manifest.files["keys/other.salt"] = None
    with pytest.raises(BackupFailed, match=r"keys/other\.salt is no key of a workspace"):
        _keys_in(tmp_path, manifest)
