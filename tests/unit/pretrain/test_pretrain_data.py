"""The order of the training sequences and the coverage of the validation ones."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from components.pretrain.data import IGNORED, TokenSplit, TrainingOrder, evaluation_batches
from core.errors import InputProblem

END = 0


def split_of(folder, lengths: list[int]) -> TokenSplit:
    """A split whose tokens count from 1 on through all its shards."""
    folder.mkdir(parents=True, exist_ok=True)
    shards, first = [], 1
    for number, length in enumerate(lengths):
        np.arange(first, first + length, dtype="<u2").tofile(folder / f"train-{number:05d}.bin")
        shards.append({"file": f"train-{number:05d}.bin", "tokens": length, "documents": 1})
        first += length
    entry = {"shards": shards, "tokens": sum(lengths), "documents": len(lengths), "bytes": 3 * sum(lengths)}
    index = {"dtype": "uint16", "vocab_size": 65_536, "eos_token_id": END, "splits": {"train": entry}}
    (folder / "index.json").write_text(json.dumps(index))
    return TokenSplit(folder, "train")


LENGTHS = st.lists(st.integers(1, 120), min_size=1, max_size=4).filter(lambda lengths: max(lengths) > 8)


@settings(max_examples=60, deadline=None)
@given(lengths=LENGTHS, size=st.integers(1, 7), seed=st.integers(0, 99))
def test_an_epoch_takes_every_window_once_and_labels_are_the_next_tokens(tmp_path_factory, lengths, size, seed):
    split = split_of(tmp_path_factory.mktemp("split"), lengths)
    order = TrainingOrder(split, 8, seed)
    windows = [window for step in range(order.windows) for window in order.batch(step * size, size)]
    for epoch in range(size):
        part = windows[epoch * order.windows : (epoch + 1) * order.windows]
        assert len(set(part)) == order.windows
        seen = np.concatenate([np.arange(w.start, w.start + 8) + 1000 * w.shard for w in part])
        assert len(set(seen)) == len(seen), "a token is an input twice in an epoch"
    inputs, labels = order.read(windows)
    assert inputs.dtype == torch.int64 and inputs.shape == (len(windows), 8)
    assert torch.equal(inputs + 1, labels)


@settings(max_examples=30, deadline=None)
@given(lengths=LENGTHS, steps=st.permutations(range(12)))
def test_a_batch_depends_on_its_step_alone(tmp_path_factory, lengths, steps):
    split = split_of(tmp_path_factory.mktemp("split"), lengths)
    forward = TrainingOrder(split, 8, 5)
    expected = [forward.batch(step, 3) for step in range(12)]
    other = TrainingOrder(split, 8, 5)
    for step in steps:
        assert other.batch(step, 3) == expected[step]


def test_epochs_and_seeds_differ(tmp_path):
    split = split_of(tmp_path, [1000])
    order = TrainingOrder(split, 8, 1)
    n = order.windows
    assert order.batch(0, n) != order.batch(n, n)
    assert order.batch(0, n) != TrainingOrder(split, 8, 2).batch(0, n)


@settings(max_examples=60, deadline=None)
@given(lengths=LENGTHS, batch=st.integers(1, 5), processes=st.integers(1, 3))
def test_validation_predicts_every_token_once_over_all_processes(tmp_path_factory, lengths, batch, processes):
    split = split_of(tmp_path_factory.mktemp("split"), lengths)
    seen = []
    for rank in range(processes):
        for inputs, labels in evaluation_batches(split, 8, batch, rank=rank, processes=processes):
            real = labels != IGNORED
            seen += labels[real].tolist()
            before = labels[real] - 1
            starts = {1 + sum(lengths[:n]) - 1 for n in range(len(lengths))}
            for given_, expected in zip(inputs[real].tolist(), before.tolist(), strict=True):
                assert given_ == (END if expected in starts else expected)
    assert sorted(seen) == list(range(1, sum(lengths) + 1))


def test_part_of_the_validation_split_is_spread_over_it(tmp_path):
    split = split_of(tmp_path, [800])
    labels = torch.cat([labels for _, labels in evaluation_batches(split, 8, 4, tokens=80)])
    assert labels.shape == (10, 8)
    assert labels[:, 0].tolist() == [1 + 80 * i for i in range(10)]


def test_missing_and_cut_shards_are_told_together(tmp_path):
    split_of(tmp_path, [50, 60])
    (tmp_path / "train-00000.bin").unlink()
    (tmp_path / "train-00001.bin").write_bytes(b"ab")
    with pytest.raises(InputProblem) as caught:
        TokenSplit(tmp_path, "train")
    assert len(caught.value.problems) == 2
    assert "train-00000.bin is missing" in caught.value.problems[0]
    assert "has 2 bytes" in caught.value.problems[1]
