"""A manifest is what its digest says and names plain paths below its folder, or nothing of it is used."""

from __future__ import annotations

import hashlib
import json

import pytest

from core import manifests

MD5 = "d41d8cd98f00b204e9800998ecf8427e"


def named(*names: object, **more: str) -> tuple[bytes, str]:
    """A manifest whose digest is right, and the digest."""
    content = json.dumps([{"md5": MD5, "relpath": name, **more} for name in names], sort_keys=True).encode()
    return content, hashlib.md5(content).hexdigest() + ".dir"


def test_a_folder_with_plain_names_is_read() -> None:
    names = ("a.txt", "b/c.txt", "b/ä ö.txt", ".hidden", "b-c", "..a", "a..")
    assert manifests.read(*named(*names)) == dict.fromkeys(names, MD5)


@pytest.mark.parametrize(
    "name",
    ["../../../keys/trusted/friend.pem", "../../torch.py", "a/../../b", "/etc/passwd", "C:/x", "C:x", "", ".", "..",
     "a//b", "a/./b", "a/", "a\\..\\b", "a\0b", None, 3],
)  # fmt: skip
def test_a_name_that_leaves_its_folder_is_refused(name: object) -> None:
    with pytest.raises(manifests.ManifestRefused, match="names"):
        manifests.read(*named("good.txt", name))


@pytest.mark.parametrize(
    "names",
    [("a", "a"), ("README", "readme"), ("straße", "STRASSE"), ("\u00e9", "e\u0301"), ("a", "a/b"), ("A/b/c", "a/B")],
)
def test_two_names_that_meet_in_one_place_are_refused(names: tuple[str, str]) -> None:
    with pytest.raises(manifests.ManifestRefused):
        manifests.read(*named(*names))


@pytest.mark.parametrize(
    "content",
    [b"{}", b"null", b"[1]", b"[[]]", b"\xff", b"[" * 5000, json.dumps([{"relpath": "a"}]).encode(),
     json.dumps([{"relpath": "a", "md5": "../../../x"}]).encode(), named("a", link="/etc/passwd")[0],
     named("a", isexec="yes")[0]],
)  # fmt: skip
def test_what_is_no_list_of_plain_files_is_refused(content: bytes) -> None:
    with pytest.raises(manifests.ManifestRefused):
        manifests.read(content, hashlib.md5(content).hexdigest() + ".dir")


def test_the_digest_is_checked_before_anything_else() -> None:
    with pytest.raises(manifests.ManifestRefused, match="its md5 is not its name"):
        manifests.read(b"not even JSON", f"{MD5}.dir")
