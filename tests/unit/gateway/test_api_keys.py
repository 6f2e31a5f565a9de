"""Keys are kept as hashes, and read from a file and the environment."""

from __future__ import annotations

import stat

import pytest

from core import layout
from deploy.gateway import api_keys


def test_a_key_is_shown_once_and_kept_as_its_hash(tmp_path):
    key = api_keys.add(tmp_path, "laptop")
    other = api_keys.add(tmp_path, "server")
    text = layout.api_keys(tmp_path).read_text()
    assert key not in text and key.removeprefix(api_keys.PREFIX) not in text and key != other
    assert stat.S_IMODE(layout.api_keys(tmp_path).stat().st_mode) == 0o600
    keys = api_keys.load(tmp_path)
    assert api_keys.match(keys, key).name == "laptop" and api_keys.match(keys, other).name == "server"
    for wrong in ("", key[:-1], key + " ", key.upper(), keys[0].sha256, "\ud800"):
        assert api_keys.match(keys, wrong) is None
    api_keys.revoke(tmp_path, "laptop")
    assert api_keys.match(api_keys.load(tmp_path), key) is None


def test_names_are_taken_once_and_known(tmp_path):
    api_keys.add(tmp_path, "laptop")
    with pytest.raises(api_keys.KeysProblem, match="revoke laptop"):
        api_keys.add(tmp_path, "laptop")
    with pytest.raises(api_keys.KeysProblem, match="known: laptop"):
        api_keys.revoke(tmp_path, "phone")
    for name in ("", "a b", "../x", "-x", "x" * 65, api_keys.STACK):
        with pytest.raises(api_keys.KeysProblem):
            api_keys.add(tmp_path, name)


def test_the_environment_has_keys_or_their_hashes(tmp_path, monkeypatch):
    plain = "sk-" + "x" * 40
    monkeypatch.setenv(api_keys.VARIABLE, f"ci:{plain}, web:{api_keys.digest('another' * 8)}")
    keys = api_keys.load(tmp_path)
    assert api_keys.match(keys, plain).name == "ci" and api_keys.match(keys, "another" * 8).name == "web"
    monkeypatch.setenv(api_keys.VARIABLE, f"ci:{plain}, ada/operator:{plain}2")
    assert [(key.name, key.role) for key in api_keys.load(tmp_path)] == [("ci", None), ("ada", "operator")]
    for wrong in ("short:abc", plain, "ci:", f"ada/owner:{plain}"):
        monkeypatch.setenv(api_keys.VARIABLE, f"ok:{plain},{wrong}")
        with pytest.raises(api_keys.KeysProblem, match="entry 2") as caught:
            api_keys.load(tmp_path)
        assert plain not in str(caught.value)


def test_a_damaged_file_is_named(tmp_path):
    layout.api_keys(tmp_path).write_text("{")
    with pytest.raises(api_keys.KeysProblem, match="cannot be read"):
        api_keys.load(tmp_path)
