"""Answers that copies on a cluster help to draw."""

from __future__ import annotations

import pytest

from components.contract import Context
from components.finetuning import sampling
from components.finetuning.parameters import GenerationParameters
from components.finetuning.sampling import SavedModel, answer_records, in_float32
from tests.unit.finetuning.workspace import signature_records, write_model


def test_whoever_draws_a_batch_and_whenever_answers_are_those_of_one_process(tmp_path, monkeypatch):
    write_model(tmp_path / "models/instruct")
    model, tokenizer = in_float32(tmp_path / "models/instruct")
    records, saved = signature_records(12), SavedModel(tmp_path / "models/instruct", in_float32)
    monkeypatch.setattr(sampling, "_CHUNK", 5)
    helped = []

    def backwards(load, folder, function, shares, own):
        assert own == (model, tokenizer)
        for place in reversed(range(len(shares))):
            helped.append(place)
            yield place, function(load(folder), shares[place])

    def drawn(name, **changes):
        context = Context(None, 7, {}, {}, tmp_path / name, **changes)
        parameters = GenerationParameters(max_new_tokens=4, batch_size=3)
        return answer_records(
            context, "all", model, tokenizer, records, parameters, samples=2, temperature=1.0, saved=saved
        )

    alone = drawn("alone")
    assert drawn("helped", help=backwards) == alone and helped == [*range(10)][::-1]
    # The other processes of the stage ask nobody: they find what the main one has kept.
    monkeypatch.setenv("RANK", "1")
    monkeypatch.setenv("WORLD_SIZE", "2")
    assert drawn("helped", help=pytest.fail) == alone
