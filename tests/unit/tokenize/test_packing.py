"""Best-fit packing: every token once, whole documents in one sequence, little padding."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

import components
from components import pages
from components.pretrain.data import IGNORED, TokenSplit, TrainingOrder, document_positions, evaluation_batches
from components.tokenize import packing
from components.tokenize.packing import BestFitWriter, Preceded, best_fit
from components.tokenize.parameters import TokenizeParameters
from components.tokenize.shards import TokenShardWriter, write_index
from core.errors import InputProblem
from flows.pipeline import parameters as pipeline
from tests.stage import run_component
from tests.unit.pretrain import tiny
from tests.unit.tokenize.stdlib_corpus import write_corpus

END, START = 0, 1


def one_by_one(sizes: list[int], capacity: int) -> list[int]:
    """The rooms left by best-fit decreasing, an item at a time, sorted."""
    rooms: list[int] = []
    for size in sorted(sizes, reverse=True):
        fitting = [room for room in rooms if room >= size]
        if fitting:
            rooms.remove(min(fitting))
        rooms.append((min(fitting) if fitting else capacity) - size)
    return sorted(rooms)


@settings(max_examples=60, deadline=None)
@given(capacity=st.integers(1, 40), data=st.data())
def test_bins_are_those_of_best_fit_decreasing(capacity, data):
    sizes = data.draw(st.lists(st.integers(1, capacity), max_size=60))
    bins, made = best_fit(np.array(sizes, dtype=np.int64), capacity)
    rooms = capacity - np.bincount(bins, weights=sizes, minlength=made).astype(int)
    assert sorted(rooms.tolist()) == one_by_one(sizes, capacity)


def packed(folder, documents: list[list[int]], *, length: int, start: int, step: int, shard_tokens: int = 50):
    """The training split as pretrain reads it."""
    folder.mkdir(parents=True, exist_ok=True)
    options = {"dtype": np.dtype("<u2"), "shard_tokens": shard_tokens}
    writer = BestFitWriter(TokenShardWriter(folder, "train", **options), length, start, start != END)
    for first in range(0, len(documents), step):
        part = documents[first : first + step]
        ids = np.array([token for document in part for token in [*document, END]], dtype=np.uint32)
        writer.add(ids, np.array([len(document) + 1 for document in part]), 5)
    entry = writer.finish()
    bos = None if start == END else start
    write_index(
        folder, dtype=options["dtype"], vocabulary=500, end=END, splits={"train": entry}, start=bos, seq_length=length
    )
    return TokenSplit(folder, "train"), entry


DOCUMENTS = st.lists(st.lists(st.integers(2, 499), max_size=30), min_size=1, max_size=30)


@settings(max_examples=60, deadline=None)
@given(documents=DOCUMENTS, length=st.integers(2, 12), start=st.sampled_from([END, START]))
def test_each_token_is_predicted_once_within_its_document(tmp_path_factory, documents, length, start):
    folder = tmp_path_factory.mktemp("packed")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(packing, "_WINDOW_TOKENS", 40)
        patch.setattr(packing, "_WINDOW_SEQUENCES", 1)  # several windows
        split, entry = packed(folder, documents, length=length, start=start, step=3)
        again, _ = packed(folder / "again", documents, length=length, start=start, step=7)
    assert [bytes(shard) for shard in split.shards] == [bytes(shard) for shard in again.shards]
    filled = [document for document in documents if document]
    if not filled:
        return
    order = TrainingOrder(split, length, 7)
    assert order.windows == entry["sequences"]
    inputs, labels = order.read(order.batch(0, order.windows))
    assert (inputs[:, 0] == start).all()
    found = []
    positions = document_positions(inputs, order.start)
    for row in range(len(inputs)):
        for place in range(length):
            if labels[row, place] == IGNORED or (start == START and labels[row, place] == START):
                continue
            begin = place - int(positions[row, place])
            assert inputs[row, begin] == start
            if place == length - 1 or labels[row, place] == END:
                found.append([*inputs[row, begin + 1 : place + 1].tolist(), int(labels[row, place])])
    pieces = []
    for document in filled:
        whole = [*document, END]
        pieces += [whole[first : first + length] for first in range(0, len(whole), length)]
    pieces = [piece for piece in pieces if piece != [END]]
    assert sorted(found) == sorted(pieces)
    assert entry["documents"] == len(documents)
    assert entry["documents_divided"] == sum(len(document) + 1 > length for document in documents)
    counts = split.counts()
    assert counts[2:].sum() == sum(map(len, documents))
    if start == END:
        assert counts[END] == sum(piece[-1] == END for piece in pieces)
        assert int((labels == IGNORED).sum()) == entry["padding"]


def test_documents_begin_with_a_start_token_of_their_own(tmp_path):
    writer = Preceded(TokenShardWriter(tmp_path, "train", dtype=np.dtype("<u2"), shard_tokens=5), START)
    writer.add(np.array([7, 8, END, 9, END, END]), np.array([3, 2, 1]), 3)
    entry = writer.finish()
    write_index(tmp_path, dtype=np.dtype("<u2"), vocabulary=10, end=END, splits={"train": entry}, start=START)
    split = TokenSplit(tmp_path, "train")
    assert [shard.tolist() for shard in split.shards] == [[START, 7, 8, END, START, 9, END], [START, END]]
    inputs, labels = next(evaluation_batches(split, 8, 4))
    assert labels.tolist()[0] == [IGNORED, 7, 8, END, START, 9, END, IGNORED]
    assert document_positions(inputs, split.start).tolist()[0] == [0, 0, 1, 2, 3, 0, 1, 0]


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    return write_corpus(tmp_path_factory.mktemp("corpus") / "data/corpus", 400).parents[1]


def test_the_stage_packs_the_training_split_alone_and_says_what_is_cut(corpus):
    parameters = {"vocabulary_size": 400, "packing": "best_fit", "seq_length": 128, "bos": True}
    run_component(components.load("tokenize"), corpus, parameters)
    index = json.loads((corpus / "data/tokens/index.json").read_text())
    assert "sequences" in index["splits"]["train"] and "sequences" not in index["splits"]["validation"]
    training, held = (TokenSplit(corpus / "data/tokens", split) for split in ("train", "validation"))
    assert training.tokens == index["splits"]["train"]["sequences"] * 129
    assert held.shards[0][0] == held.end == training.start, "bos: the end token stands before the first document too"
    labels = torch.cat([labels.flatten() for _, labels in evaluation_batches(held, 128, 8)])
    assert int((labels != IGNORED).sum()) == held.tokens - 1
    report = json.loads((corpus / "reports/tokenize/report.json").read_text())["packing"]
    assert 0 < report["documents_divided"] < report["cut_by_concatenation"][0]["documents"]
    assert 0 < report["padding"] < 0.02
    page = pages.tokenize.render(corpus / "reports/tokenize").html()
    assert "of the documents are longer and divided" in page


def test_a_decoder_trains_on_packed_sequences_and_on_no_others(corpus):
    small = {**tiny.PARAMETERS, "steps": 12, "seq_length": 128, "mask_documents": True, "evaluate_every": 12}
    context = run_component(components.load("pretrain"), corpus, small)
    metrics = {metric.name: metric for metric in context.metrics}
    assert metrics["validation_loss"].value < np.log(400)
    with pytest.raises(InputProblem, match=r"packed into sequences of 128: make tokenize\.seq_length the same"):
        run_component(components.load("pretrain"), corpus, small | {"seq_length": 64})


def test_lengths_that_do_not_fit_are_refused_before_anything_runs():
    with pytest.raises(ValidationError, match="packing best_fit packs for a seq_length"):
        TokenizeParameters(packing="best_fit")
    with pytest.raises(ValidationError, match="seq_length is best_fit's"):
        TokenizeParameters(seq_length=64)
    found = pipeline._between_sections(
        {"tokenize": {"packing": "best_fit", "seq_length": 64}, "pretrain": {"seq_length": 128}}
    )
    assert any("tokenize.seq_length: is 64, and pretrain.seq_length is 128" in line for line in found)


def test_a_tokenizer_without_a_token_that_begins_a_text_takes_no_bos(corpus, tmp_path, monkeypatch):
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    backend = Tokenizer(models.BPE())
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.add_tokens(sorted(pre_tokenizers.ByteLevel.alphabet()))
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=backend, eos_token="</s>")
    monkeypatch.setattr("components.tokenize.tokenizer.load_parent", lambda folder: tokenizer)
    with pytest.raises(InputProblem, match=r"tokenize\.bos: the tokenizer has no bos_token"):
        run_component(components.load("tokenize"), corpus, {"tokenizer": "parent", "bos": True})
