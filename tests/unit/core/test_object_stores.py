"""Addresses to write below: what is wrong with their spelling, and with the place, is said."""

from __future__ import annotations

import pytest

from components.pretrain.parameters import PretrainParameters
from core.object_stores import misspelt, refused


@pytest.mark.parametrize(
    "url", ["s3://bucket/a", "gs://bucket", "az://box/a/b", "file:///mnt/share/a", "S3://bucket/a"]
)
def test_an_address_of_a_bucket_and_a_folder_is_taken(url):
    assert misspelt(url) is None
    assert PretrainParameters(checkpoints=url).checkpoints == url


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("bucket/a", "begins with one of s3://"),
        ("https://example.org/a", "begins with one of s3://"),
        ("memory://a", "begins with one of s3://"),
        ("s3://key:hunter2@bucket/a", "credentials in the environment"),
        ("s3://", "a bucket and a folder"),
        ("s3://bucket/a?versionId=3", "without signs"),
        ("s3://bucket/*", "without signs"),
        ("s3://bucket/a::file:///etc", "without signs"),
        ("file:///mnt/../etc", "without signs"),
    ],
)
def test_any_other_is_refused_and_no_password_is_repeated(url, words):
    with pytest.raises(ValueError, match=words) as refusal:
        PretrainParameters(checkpoints=url)
    assert "hunter2" not in str(misspelt(url))
    assert words in str(refusal.value)


def test_that_a_place_cannot_be_written_is_found_by_writing_and_nothing_is_left(tmp_path):
    assert refused(f"file://{tmp_path}/new/folder") is None
    assert not list((tmp_path / "new/folder").iterdir())
    (tmp_path / "file").write_text("")
    assert "check address, credentials and access" in str(refused(f"file://{tmp_path}/file/folder"))
