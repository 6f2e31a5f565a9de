"""Muon and AdamW as one optimizer: what goes where, agreement with torch's own, checkpoints."""

from __future__ import annotations

import copy
import os

import pytest
import torch
import torch.distributed as distributed
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import AutoConfig, AutoModelForCausalLM, AutoModelForSequenceClassification

from components import optimizers

TINY = dict(
    hidden_size=32,
    intermediate_size=48,
    num_hidden_layers=2,
    num_attention_heads=2,
    num_key_value_heads=2,
    vocab_size=64,
    max_position_embeddings=16,
    pad_token_id=1,
)


def tiny(tied: bool = True) -> torch.nn.Module:
    torch.manual_seed(0)
    return AutoModelForCausalLM.from_config(AutoConfig.for_model("llama", tie_word_embeddings=tied, **TINY))


def one_step(model: torch.nn.Module, optimizer: torch.optim.Optimizer, seed: int = 1) -> None:
    ids = torch.randint(0, 64, (4, 16), generator=torch.Generator().manual_seed(seed))
    model(input_ids=ids, labels=ids).loss.backward()
    optimizer.step()
    optimizer.zero_grad()


@pytest.mark.parametrize("tied", [True, False])
def test_every_parameter_has_one_place_and_embeddings_are_not_muons(tied):
    model = tiny(tied)
    hidden, matrices, vectors = optimizers.split_parameters(model)
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    assert sorted(names[id(p)] for p in hidden + matrices + vectors) == sorted(names.values())
    assert len(hidden) == 2 * 7
    assert {names[id(p)] for p in matrices} == {"model.embed_tokens.weight"} | (set() if tied else {"lm_head.weight"})
    assert all("norm" in names[id(p)] for p in vectors)


def test_class_head_is_adamws():
    model = AutoModelForSequenceClassification.from_config(AutoConfig.for_model("llama", num_labels=3, **TINY))
    _, matrices, _ = optimizers.split_parameters(model)
    assert any(parameter is model.score.weight for parameter in matrices)


def test_frozen_parameters_are_left_out():
    model = tiny()
    model.model.requires_grad_(False)
    model.model.norm.requires_grad_(True)
    optimizer = optimizers.build(model)
    assert [p for group in optimizer.param_groups for p in group["params"]] == [model.model.norm.weight]


def test_decay_spares_vectors():
    for algorithm in ("muon", "adamw"):
        for group in optimizers.build(tiny(), algorithm, weight_decay=0.3).param_groups:
            vectors = {p.ndim for p in group["params"]} == {1}
            assert group["weight_decay"] == (0.0 if vectors else 0.3)


@pytest.mark.parametrize("bf16", [False, True])
def test_agrees_with_torchs_muon_to_the_rounding_of_bfloat16(bf16, monkeypatch):
    monkeypatch.setattr(optimizers, "bf16_units", lambda: "units" if bf16 else None)
    ours, theirs = tiny(), tiny()
    hidden, _, _ = optimizers.split_parameters(ours)
    before = [p.detach().clone() for p in hidden]
    one = optimizers.Muon(hidden, bf16=True, lr=0.02, weight_decay=0.1)
    other = torch.optim.Muon(optimizers.split_parameters(theirs)[0], lr=0.02, weight_decay=0.1)
    for seed in (1, 2, 3):
        one_step(ours, one, seed)
        one_step(theirs, other, seed)
    for start, a, b in zip(before, hidden, optimizers.split_parameters(theirs)[0], strict=True):
        change = torch.nn.functional.cosine_similarity((a - start).flatten(), (b - start).flatten(), dim=0)
        assert change > 0.99


@settings(max_examples=25, deadline=None)
@given(rows=st.integers(2, 24), columns=st.integers(2, 24), seed=st.integers(0, 1000), scale=st.floats(1e-3, 1e3))
def test_orthogonalise_brings_singular_values_near_one(rows, columns, seed, scale):
    generator = torch.Generator().manual_seed(seed)
    stack = scale * torch.randn(3, rows, columns, generator=generator)
    values = torch.linalg.svdvals(stack)
    singular = torch.linalg.svdvals(optimizers.orthogonalise(stack))
    # Only directions that the five steps can lift: those within a factor of 20 of the norm.
    lifted = values > values.norm(dim=1, keepdim=True) / 20
    assert singular[lifted].min() > 0.4
    assert singular.max() < 1.3


def test_schedulers_reach_the_parts():
    optimizer = optimizers.build(tiny(), learning_rate=0.1, muon_learning_rate=0.2)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 0.5)
    assert [group["lr"] for group in optimizer.param_groups] == [0.1, 0.05, 0.05]
    assert [group["lr"] for part in optimizer._parts for group in part.param_groups] == [0.1, 0.05, 0.05]
    assert schedule.get_last_lr() == [0.1, 0.05, 0.05]


@pytest.mark.parametrize("algorithm", ["muon", "adamw"])
def test_state_survives_a_checkpoint_bit_for_bit(algorithm):
    model = tiny()
    optimizer = optimizers.build(model, algorithm)
    one_step(model, optimizer, 1)
    state, weights = copy.deepcopy(optimizer.state_dict()), copy.deepcopy(model.state_dict())
    one_step(model, optimizer, 2)

    other = tiny()
    other.load_state_dict(weights)
    resumed = optimizers.build(other, algorithm)
    resumed.load_state_dict(state)
    one_step(other, resumed, 2)
    for name, value in model.state_dict().items():
        assert torch.equal(value, other.state_dict()[name]), name


def test_nothing_to_train_is_an_error():
    with pytest.raises(ValueError, match="no trainable"):
        optimizers.build(tiny().requires_grad_(False))


def test_processes_share_the_orthogonalisation_and_stay_alike(tmp_path):
    """Three processes with four, two and one matrix of a shape: their shares differ, their weights do not."""
    alone = _stepped()
    processes = []
    for rank in range(3):
        if (pid := os.fork()) == 0:
            code = 1
            try:
                distributed.init_process_group("gloo", f"file://{tmp_path}/meeting", rank=rank, world_size=3)
                torch.save(_stepped(), tmp_path / f"{rank}.pt")
                distributed.destroy_process_group()
                code = 0
            finally:
                os._exit(code)
        processes.append(pid)
    assert [os.waitpid(pid, 0)[1] for pid in processes] == [0, 0, 0]
    for rank in range(3):
        for one, of_many in zip(alone, torch.load(tmp_path / f"{rank}.pt"), strict=True):
            torch.testing.assert_close(of_many, one, rtol=0, atol=1e-6)


def _stepped() -> list[torch.Tensor]:
    """Weights after two steps of Muon."""
    torch.set_num_threads(1)
    random = torch.Generator().manual_seed(0)
    shapes = [(8, 8)] * 4 + [(8, 16)] * 2 + [(16, 8)]
    weights = [torch.nn.Parameter(torch.randn(shape, generator=random)) for shape in shapes]
    muon = optimizers.Muon(weights, lr=0.02)
    for _ in range(2):
        for weight in weights:
            weight.grad = torch.randn(weight.shape, generator=random)
        muon.step()
    return [weight.detach() for weight in weights]
