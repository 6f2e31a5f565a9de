"""``steps: 0``: the model that ``pretrain.init`` names becomes ``models/base``, byte for byte."""

import json

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

import components
from components.contract import Context
from components.harness.parameters import validate
from components.pages.pretrain import render
from components.pretrain.parameters import PretrainParameters
from components.pretrain.stage import run
from core.errors import InputProblem
from core.weights import count
from flows.pipeline.parameters import problems_in
from registry.store.manifests import digest_of
from tests.tiny_decoder import save

TAKEN = {
    "curate": {"sources": [], "labels": {"source": "none"}, "instructions": {"source": "none"}},
    "tokenize": {"tokenizer": "parent"},
    "pretrain": {"init": "owner/name", "steps": 0},
}


@pytest.fixture
def context(tmp_path):
    save(tmp_path / "models/parent", 2.0)
    for folder in ("tokens", "model", "report"):
        (tmp_path / folder).mkdir()
    parameters = PretrainParameters(init="owner/name", steps=0)
    inputs = {"tokens": tmp_path / "tokens", "parent": tmp_path / "models/parent"}
    outputs = {name: tmp_path / name for name in ("model", "report")}
    return Context(parameters, 1, inputs, outputs, tmp_path)


def test_every_byte_is_taken_and_nothing_is_trained(context):
    run(context)
    assert digest_of(context.outputs["model"]) == digest_of(context.inputs["parent"])
    metrics = {metric.name: metric.value for metric in context.metrics}
    numbers, kinds = count(context.inputs["parent"])
    assert metrics == {"parameters": numbers} and kinds == {"F32": numbers}
    assert "byte for byte; nothing was trained" in render(context.outputs["report"]).html()


def test_a_decoder_has_a_loss_where_there_is_text(context):
    from components.tokenize.shards import TokenShardWriter, dtype_for, write_index

    splits = {}
    for split in ("train", "validation", "test"):
        writer = TokenShardWriter(context.inputs["tokens"], split, dtype=dtype_for(8), shard_tokens=10_000)
        writer.add(np.tile([1, 2, 3, 4, 5, 6, 7], 60), np.full(60, 7), 60 * 20)
        splits[split] = writer.finish()
    write_index(context.inputs["tokens"], dtype=dtype_for(8), vocabulary=8, end=7, splits=splits)
    context.parameters = PretrainParameters(init="owner/name", steps=0, seq_length=16)
    run(context)
    metrics = {metric.name: metric for metric in context.metrics}
    assert metrics.keys() == {"parameters", "validation_bits_per_byte", "validation_loss"}
    assert metrics["validation_loss"].value < metrics["validation_loss"].baselines["unigram"]
    assert "On the whole validation split" in render(context.outputs["report"]).html()


def test_numbers_are_counted_from_the_headers(tmp_path):
    save_file({"a": torch.zeros(3, 4, dtype=torch.bfloat16)}, tmp_path / "model-1.safetensors")
    save_file({"b": torch.zeros(5)}, tmp_path / "model-2.safetensors")
    assert count(tmp_path) == (17, {"BF16": 12, "F32": 5})
    (tmp_path / "model-2.safetensors").write_bytes(b"\xff" * 20)
    with pytest.raises(InputProblem, match=r"model-2.safetensors is damaged"):
        count(tmp_path)


def test_no_model_can_be_taken_from_scratch():
    with pytest.raises(InputProblem, match="steps 0 takes a model as it is"):
        validate({"pretrain": {"steps": 0}}, "pretrain", PretrainParameters)


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"pretrain": {"init": "scratch", "steps": 5}}, "tokenize.tokenizer: is parent, but pretrain.init is scratch"),
        ({"tokenize": {}}, "tokenize.tokenizer: pretrain.steps 0 takes a model with its own tokenizer"),
        ({"pretrain": {"init": "owner/name"}}, "pretrain.steps: curate.sources is empty"),
    ],
)
def test_sections_that_do_not_go_together_are_refused_before_anything_runs(change, problem):
    assert problems_in(TAKEN) == []
    assert any(problem in line for line in problems_in({**TAKEN, **change}))


def test_the_parent_is_an_input_of_tokenize_only_where_its_tokenizer_is_taken():
    parent = next(spec for spec in components.load("tokenize").inputs if spec.name == "parent")
    kind = components.load("tokenize").parameters
    assert parent.optional and parent.when(kind(tokenizer="parent")) and not parent.when(kind())


def test_the_parents_tokenizer_is_taken_byte_for_byte_without_text(tmp_path):
    import pyarrow.parquet as pq

    from components.curate.documents import SCHEMA
    from components.tokenize.stage import run as tokenize

    save(tmp_path / "parent", 2.0)
    (tmp_path / "corpus").mkdir()
    for split in ("train", "validation", "test"):
        pq.write_table(SCHEMA.empty_table(), tmp_path / f"corpus/{split}-00000-of-00001.parquet")
    for name in ("tokenizer", "tokens", "report"):
        (tmp_path / name).mkdir()
    made = Context(
        components.load("tokenize").parameters(tokenizer="parent"), 1,
        {"corpus": tmp_path / "corpus", "parent": tmp_path / "parent"},
        {name: tmp_path / name for name in ("tokenizer", "tokens", "report")}, tmp_path,
    )  # fmt: skip
    tokenize(made)
    for file in (tmp_path / "tokenizer").iterdir():
        assert file.read_bytes() == (tmp_path / "parent" / file.name).read_bytes()
    assert (tmp_path / "tokenizer/tokenizer.json").is_file()
    index = json.loads((tmp_path / "tokens/index.json").read_text())
    assert index["splits"]["train"]["tokens"] == 0
