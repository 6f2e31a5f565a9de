"""Checkpoints on disk: any damage shows, and which ones are kept."""

from __future__ import annotations

import errno
import os
import shutil
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from components.pretrain import checkpoint

FILES = {"model.safetensors": bytes(range(256)) * 3, "optimizer.safetensors": b"\0" * 500, "training.json": b"{}\n"}


def write(folder: Path) -> None:
    for name, body in FILES.items():
        (folder / name).write_bytes(body)


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    folder = tmp_path_factory.mktemp("whole")
    return checkpoint.publish(folder, 7, write)


def test_a_whole_checkpoint_is_the_newest_and_holds_its_files(whole):
    assert checkpoint.newest(whole.parent, pytest.fail) == whole
    assert {path.name: path.read_bytes() for path in whole.iterdir() if path.name != checkpoint.MANIFEST} == FILES


@settings(max_examples=80, deadline=None)
@given(data=st.data(), cut=st.booleans())
def test_any_changed_or_missing_byte_of_any_file_shows(whole, data, cut):
    path = data.draw(st.sampled_from(sorted(whole.iterdir())))
    body = path.read_bytes()
    offset = data.draw(st.integers(0, len(body) - 1))
    flip = data.draw(st.integers(1, 255))
    try:
        path.write_bytes(body[:offset] if cut else body[:offset] + bytes([body[offset] ^ flip]) + body[offset + 1 :])
        assert checkpoint.damage(whole) is not None
    finally:
        path.write_bytes(body)
    assert checkpoint.damage(whole) is None


@pytest.mark.parametrize("name", [*FILES, checkpoint.MANIFEST])
def test_a_missing_file_is_told_of_and_the_checkpoint_before_is_taken(name, tmp_path):
    for step in (9, 10):
        checkpoint.publish(tmp_path, step, write)
    (tmp_path / "step-0000000010" / name).unlink()
    messages = []
    assert checkpoint.newest(tmp_path, messages.append).name == "step-0000000009"
    assert len(messages) == 1 and "step-0000000010 is damaged" in messages[0] and name in messages[0]


def test_leftovers_of_a_killed_writer_are_no_checkpoint_and_go(tmp_path, whole):
    shutil.copytree(whole, tmp_path / "step-0000000099.partial")
    assert checkpoint.newest(tmp_path, pytest.fail) is None
    assert not list(tmp_path.iterdir())


def test_a_disk_that_fills_up_leaves_nothing_of_the_attempt(tmp_path):
    def full(folder: Path) -> None:
        (folder / "model.safetensors").write_bytes(b"half")
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    checkpoint.publish(tmp_path, 1, write)
    with pytest.raises(OSError, match="No space"):
        checkpoint.publish(tmp_path, 2, full)
    assert [path.name for path in tmp_path.iterdir()] == ["step-0000000001"]


@settings(max_examples=60, deadline=None)
@given(
    steps=st.sets(st.integers(1, 10**9), min_size=1, max_size=8),
    data=st.data(),
    last=st.integers(1, 4),
    best=st.integers(0, 3),
)
def test_the_newest_and_the_best_are_kept(tmp_path_factory, steps, data, last, best):
    folder = tmp_path_factory.mktemp("kept")
    for step in steps:
        (folder / f"step-{step:010d}").mkdir()
    losses = data.draw(st.dictionaries(st.sampled_from(sorted(steps)), st.floats(0, 10)))
    checkpoint.prune(folder, losses, keep_last=last, keep_best=best)
    kept = {int(path.name[5:]) for path in folder.iterdir()}
    newest = set(sorted(steps)[-last:])
    assert newest <= kept and len(kept - newest) <= best
    chosen = sorted(losses.values())[:best]
    assert sorted(losses[step] for step in kept if step in losses)[:best] == chosen
