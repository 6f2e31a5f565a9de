"""A model's file is checked before it is used; whatever else it holds is refused by name."""

import json

import numpy as np
import pytest

from components.text_classifier.features import BUCKETS
from components.text_classifier.model import FORMAT, TextClassifier
from core.errors import InputProblem

TENSOR = {"dtype": "I32", "shape": [BUCKETS], "data_offsets": [0, 4 * BUCKETS]}
MANIFEST = {"format": FORMAT, "bias": 0.0, "threshold": 0.5}


def built(manifest=MANIFEST, tensor=TENSOR, data=bytes(4 * BUCKETS), **more) -> bytes:
    text = manifest if isinstance(manifest, str) else json.dumps(manifest)
    header = json.dumps({"__metadata__": {"manifest": text}, "weights": tensor, **more}).encode()
    return len(header).to_bytes(8, "little") + header + data


def test_a_sound_file_is_read(tmp_path):
    (tmp_path / "model").write_bytes(built())
    assert TextClassifier.read(tmp_path / "model", "model").scores(["some text", ""]) == [0.5, 0.5]


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\x80\x04\x95pickle",
        (2**63).to_bytes(8, "little") + b"{}",
        built()[:-4],
        built() + b"more",
        built(data=bytes(9 * BUCKETS)),
        built(tensor={**TENSOR, "dtype": "F32"}),
        built(tensor={**TENSOR, "data_offsets": [0, 8]}),
        built(other=TENSOR),
        built({**MANIFEST, "format": "other"}),
        built({**MANIFEST, "threshold": float("nan")}),
        built({**MANIFEST, "threshold": 2}),
        built({**MANIFEST, "bias": "0"}),
        built({**MANIFEST, "bias": True}),
        built("[" * 100_000),
        built("[1]"),
        built({**MANIFEST, "x": json.loads("[" * 80 + "]" * 80)}),
    ],
    ids=range(17),
)
def test_another_file_is_refused(tmp_path, content):
    (tmp_path / "model").write_bytes(content)
    with pytest.raises(InputProblem, match=r"^data/raw/q: is no classifier that `stemma data train-classifier` has"):
        TextClassifier.read(tmp_path / "model", "data/raw/q")


UNKNOWN = {"n": 1, "precision": None, "recall": 1, "baselines": {"share_of_good": 1}}


@pytest.mark.parametrize("metrics", [None, 5, {}, UNKNOWN])
def test_metrics_that_say_nothing_are_left_out(tmp_path, metrics):
    (tmp_path / "model").write_bytes(built({**MANIFEST, "metrics": metrics}))
    assert TextClassifier.read(tmp_path / "model", "model").measured is None


def test_extreme_weights_give_a_score_from_0_to_1(tmp_path):
    for value in (2**31 - 1, -(2**31)):
        data = np.full(BUCKETS, value, "<i4").tobytes()
        (tmp_path / "model").write_bytes(built(data=data))
        (score,) = TextClassifier.read(tmp_path / "model", "model").scores(["word " * 10_000])
        assert score == (value > 0)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(InputProblem, match=r"^data/raw/q: cannot be read \(No such file"):
        TextClassifier.read(tmp_path / "q", "data/raw/q")
