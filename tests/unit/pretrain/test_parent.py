"""What `pretrain.init` may say, and whether `models/parent` holds it."""

from __future__ import annotations

import re
from types import SimpleNamespace

import pytest
from pydantic import ValidationError

from components.pretrain.parameters import PretrainParameters
from components.pretrain.parent import Pointer, problems, read_pointer, unusable

POINTER = """outs:
- md5: {kept}
  size: 10
  hash: md5
  path: parent
meta: {{init: "registry:base@champion", source: "base:1", digest: aa.dir}}
"""


def problems_of(root, init: str, digest: str | None = None) -> list[str]:
    return problems(SimpleNamespace(init=init), root, {"parent": digest} if digest else {})


@pytest.fixture
def brought(tmp_path):
    (tmp_path / "models").mkdir()
    (tmp_path / "models/parent.dvc").write_text(POINTER.format(kept="aa.dir"))
    return tmp_path


@pytest.mark.parametrize("init", ["registry:base@champion", "registry:base:3", "registry:a.b-c:v12", "owner/name", "x"])
def test_names_of_one_model(init):
    assert PretrainParameters(init=init).init == init


@pytest.mark.parametrize("init", ["registry:", "registry:base", "registry:base@", "registry:base:x", "registry:a b:1"])
def test_names_of_none_or_of_whichever_is_newest(init):
    with pytest.raises(ValidationError, match="write registry:MODEL@ALIAS or registry:MODEL:VERSION"):
        PretrainParameters(init=init)


def test_what_was_brought_is_read_back(brought):
    assert read_pointer(brought) == Pointer("aa.dir", "registry:base@champion", "base:1", "aa.dir")
    assert problems_of(brought, "registry:base@champion", "aa.dir") == []


def test_from_scratch_there_is_no_parent(tmp_path):
    assert read_pointer(tmp_path) is None and problems_of(tmp_path, "scratch") == []


@pytest.mark.parametrize(
    ("init", "digest", "message"),
    [
        ("registry:base@champion", None, "is not in models/parent yet, which is empty; `stemma init`"),
        ("registry:base:2", "aa.dir", r"but models/parent holds registry:base@champion \(base:1\); `stemma init`"),
        ("registry:base@champion", "bb.dir", r"was altered since registry:base@champion \(base:1\) was brought"),
        ("scratch", "aa.dir", "still holds registry:base@champion; `stemma init` empties it"),
    ],
)
def test_a_stale_parent_is_told_with_the_way_on(brought, init, digest, message):
    (problem,) = problems_of(brought, init, digest)
    assert re.match(f"pretrain.init: .*{message}", problem)


@pytest.mark.parametrize("content", ["", "- a list", "outs: []", "outs: [{path: parent, md5: aa.dir}]", "{: not yaml"])
def test_a_pointer_that_says_nothing_vouches_for_nothing(brought, content):
    (brought / "models/parent.dvc").write_text(content)
    assert problems_of(brought, "registry:base@champion", "aa.dir")


def test_only_safetensors_are_weights(tmp_path):
    assert "no config.json" in unusable(tmp_path)
    (tmp_path / "config.json").write_text("{}")
    (tmp_path / "pytorch_model.bin").write_bytes(b"pickle")
    assert "no .safetensors weights" in unusable(tmp_path) and "save_pretrained(another)" in unusable(tmp_path)
    (tmp_path / "model.safetensors").write_bytes(b"weights")
    assert unusable(tmp_path) is None
