"""A checkpoint that is not whole is never resumed from, and a whole one holds all that a training goes on with."""

import pytest

from components.finetuning.checkpoints import KEPT, is_whole, latest, publish, seal, step_of, tidy


def written(root, step):
    """What a trainer writes, file by file."""
    folder = root / f"checkpoint-{step}"
    folder.mkdir(parents=True)
    (folder / "model.safetensors").write_bytes(b"m" * 100)
    (folder / "optimizer.pt").write_bytes(b"o" * 50)
    return folder


def make(root, step, beside=()):
    return publish(written(root, step), step, beside)


def test_the_newest_whole_one_is_taken_and_what_a_kill_left_goes(tmp_path):
    newest = [make(tmp_path, step) for step in (5, 9, 10)][-1]
    torn = written(tmp_path, 15)
    assert latest(tmp_path) == newest and step_of(newest) == 10
    tidy(tmp_path, newest)
    assert not torn.exists() and len(list(tmp_path.iterdir())) == KEPT


@pytest.mark.parametrize("harm", ["truncate", "remove", "seal"])
def test_of_a_harmed_checkpoint_the_one_before_is_taken(tmp_path, harm):
    before, folder = make(tmp_path, 5), make(tmp_path, 10)
    assert is_whole(folder)
    if harm == "truncate":
        (folder / "optimizer.pt").write_bytes(b"o")
    elif harm == "remove":
        (folder / "model.safetensors").unlink()
    else:
        (folder / "sealed.json").write_text("{")
    assert not is_whole(folder)
    assert latest(tmp_path) == before
    assert make(tmp_path, 10) == folder == latest(tmp_path), "it is written anew"


def test_the_best_weights_and_answers_come_back_with_it(tmp_path):
    best, answers = tmp_path / "here/best-3", tmp_path / "answers"
    for folder in (best, answers):
        folder.mkdir(parents=True)
        (folder / "content").write_text(folder.name)
    seal(best)
    checkpoint = make(tmp_path / "here", 5, [best, answers, tmp_path / "none"])
    assert (checkpoint / "beside/answers/content").read_text() == "answers"
    there = checkpoint.rename(tmp_path / checkpoint.name)
    tidy(tmp_path, latest(tmp_path))
    assert (tmp_path / "best-3/content").read_text() == "best-3" and is_whole(there)


def test_no_folder_means_no_checkpoint(tmp_path):
    assert latest(tmp_path / "none") is None
