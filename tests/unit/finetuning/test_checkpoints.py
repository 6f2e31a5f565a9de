"""A checkpoint that is not whole is never resumed from."""

import pytest

from components.finetuning.checkpoints import is_whole, latest, seal


def make(root, step, sealed=True):
    folder = root / f"checkpoint-{step}"
    folder.mkdir(parents=True)
    (folder / "model.safetensors").write_bytes(b"m" * 100)
    (folder / "optimizer.pt").write_bytes(b"o" * 50)
    if sealed:
        seal(folder)
    return folder


def test_the_newest_whole_one_is_taken_and_torn_ones_are_removed(tmp_path):
    make(tmp_path, 5)
    newest = make(tmp_path, 10)
    torn = make(tmp_path, 15, sealed=False)
    assert latest(tmp_path) == newest
    assert not torn.exists()


@pytest.mark.parametrize("harm", ["truncate", "remove", "seal"])
def test_a_harmed_checkpoint_is_not_whole(tmp_path, harm):
    folder = make(tmp_path, 5)
    assert is_whole(folder)
    if harm == "truncate":
        (folder / "optimizer.pt").write_bytes(b"o")
    elif harm == "remove":
        (folder / "model.safetensors").unlink()
    else:
        (folder / "sealed.json").write_text("{")
    assert not is_whole(folder)
    assert latest(tmp_path) is None


def test_steps_are_compared_as_numbers(tmp_path):
    make(tmp_path, 9)
    tenth = make(tmp_path, 10)
    assert latest(tmp_path) == tenth


def test_no_folder_means_no_checkpoint(tmp_path):
    assert latest(tmp_path / "none") is None
